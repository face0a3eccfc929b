#!/bin/sh
# A build may run a program that it has just linked: a generator of sources. Its stand-in then makes the program for
# real, from the commands that the stand-ins keep in what they write, in a folder of its own, so that the tree stays as
# it is, and runs it.
program=$1; shift
case $program in /*) ;; *) program=$PWD/$program;; esac
PATH=$SUTURE_RECORD_PATH; export PATH
room=$SUTURE_RECORD/real$program
quoted() { case $1 in *\'*) q=$(printf '%s.' "$1" | sed "s/'/'\\\\''/g"); q=${q%.};; *) q=$1;; esac; q="'$q'"; }
fresh() { real=$(mktemp -d "$work/XXXXXX")/${1##*/}; }
# each sets `real` to a file made for real, or fails
object() {
  # made once for all programs that hold it, and anew when the build has compiled it again
  once=$SUTURE_RECORD/objects$(absolute "$1")
  if [ "$once" -nt "$1" ]; then real=$once; return; fi
  command=$(sed -n 2p "$1")
  run_with_output "$1" "$command" || return 1
  mkdir -p "${once%/*}" && mv "$real" "$once" && real=$once
}
link() {
  command=$(sed -n 's/^://p' "$1" | tail -n 1)
  run_with_output "$1" "$command"
}
run_with_output() {
  fresh "$1"
  (
    target=$real
    eval "set -- $2"
    cd "$1" || exit 1
    tool=$2; shift 2
    line= next= folders= output=
    for a do
      if [ "$next" = out ]; then next=; output=1; quoted "$target"; line="$line -o $q"; continue; fi
      if [ "$next" = folder ]; then next=; folders="$folders $a"; quoted "$a"; line="$line -L $q"; continue; fi
      case $a in
        -o) next=out; continue;;
        -o?*) output=1; quoted "$target"; line="$line -o $q"; continue;;
        -MF|-MT|-MQ) quoted "$a"; line="$line $q"; continue;;
        -L) next=folder; continue;;
        -L*) folders="$folders ${a#-L}";;
        -l*) for f in $folders; do
            for k in "$f/lib${a#-l}.so" "$f/lib${a#-l}.a"; do
              if stands_in "$k"; then a=$k; break 2; fi
            done
          done;;
      esac
      if stands_in "$a"; then realize "$a" || exit 1; a=$real; fi
      quoted "$a"; line="$line $q"
    done
    if [ -z "$output" ]; then quoted "$target"; line="$line -o $q"; fi
    eval "set -- $line"
    case $tool in *ar) exec "$tool" "$@";; esac
    "$tool" "$@" >&2
  ) && [ -e "$real" ]
}
stands_in() {
  [ -f "$1" ] || return 1
  case $(head -c 26 "$1" | tr -d '\000') in
    suture-object\ *) return 0;;
    '#!/bin/sh
# suture-program'*) return 0;;
    '!<arch>') [ -f "$SUTURE_RECORD/made$(absolute "$1")/members" ];;
    *) return 1;;
  esac
}
absolute() { case $1 in /*) printf %s "$1";; *) printf %s "$PWD/$1";; esac; }
realize() {
  case $(head -c 14 "$1") in
    suture-object\ *) object "$1";;
    '!<arch>') archive "$1";;
    *) link "$1" && loaded "$real";;
  esac
}
loaded() {
  name=$(objdump -p "$1" | sed -n 's/^ *SONAME *//p')
  [ -z "$name" ] || ln -sf "$1" "$work/lib/$name"
}
archive() {
  list=$SUTURE_RECORD/made$(absolute "$1")/members
  fresh "$1"
  (
    target=$real
    while IFS= read -r row; do
      eval "set -- $row"
      cd "$1" || exit 1
      shift
      seen=
      for a do
        case $a in *.a) seen=1; continue;; esac
        [ -n "$seen" ] && [ -f "$a" ] || continue
        if stands_in "$a"; then
          kept=$target; realize "$a" || exit 1; target=$kept
          ar rc "$target" "$real" || exit 1
        fi
      done
    done <"$list"
  )
  [ -e "$real" ]
}
if [ ! -x "$room/program" ]; then
  mkdir -p "$room" || exit 1
  work=$(mktemp -d "$room/work.XXXXXX") && mkdir "$work/lib" || exit 1
  realize "$program" || exit 1
  [ -e "$room/lib" ] || ln -s "$work/lib" "$room/lib"
  chmod +x "$real" && mv "$real" "$room/program"
fi
LD_LIBRARY_PATH=$room/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
exec "$room/program" "$@"
