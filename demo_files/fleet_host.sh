# A host of the fleet, within its container: nginx in front of php-fpm, and both parts of the agent once it has enrolled.
# Arguments: suture, php-fpm, PHP's module for pictures, nginx, the folders of their libraries, the fleet's address, its
# key. All that it writes is in /shared.
set -eu
suture=$1 php=$2 gd=$3 nginx=$4 libraries=$5 fleet=$6 key=$7
cd /shared
export LD_LIBRARY_PATH="/image:$libraries"
"$php" --no-php-ini --define "extension=$gd" --fpm-config /shared/fpm.conf >>php.out 2>&1 &
"$nginx" -p /shared -c /shared/nginx.conf -e /shared/nginx.log >>nginx.out 2>&1 &
unset LD_LIBRARY_PATH
export PYTHONDONTWRITEBYTECODE=1
"$suture" agent enrol --url "$fleet" --server "$key" --authority /shared/fleet.pem --token-file /shared/token \
    --state /shared/state >>agent.log 2>&1
places="--policy /shared/agent.toml --socket /shared/agent.socket --state /shared/state --kept /shared/kept"
"$suture" agent apply-service $places --user 0 >>agent.log 2>&1 &
"$suture" agent run $places >>agent.log 2>&1 &
wait
