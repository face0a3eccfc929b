#!/bin/sh
# Stands in for a compiler or an archiver while a build is recorded (compile/stand_in.py).
# dash keeps this at about a millisecond per call: no program is started, and $$ names a log file that nobody else
# writes.
deep=0
keep() {
  for a do
    case $a in
      @*) if [ -f "${a#@}" ] && [ $deep -lt 9 ]; then
        printf '1\0response\0%s\0%s\0' "$PWD" "${a#@}"; cat "${a#@}"; printf '\0'
        set -f; deep=$((deep + 1)); keep $(cat "${a#@}"); deep=$((deep - 1)); set +f
      fi;;
    esac
  done
}
name=${0##*/}
mode=link out= dep= map= want= first=
for a do
  case $want in
    out) out=$a want=; continue;;
    dep) dep=$a want=; continue;;
    skip) want=; continue;;
  esac
  case $a in
    -c) mode=compile;;
    -Wl,-Map,*) map=${a#-Wl,-Map,};;
    -Wl,--verbose|-E|-S|-M|-MM|-fsyntax-only|--version|-v|-V|-\#\#\#|-print-*|--print-*|-dump*|--help*) mode=ask;
        break;;
    -o) want=out;;
    -o*) out=${a#-o};;
    -MF) want=dep;;
    -MF*) dep=${a#-MF};;
    -Wp,-MD,*|-Wp,-MMD,*) dep=${a##*,};;
    -MT|-MQ|-I|-D|-U|-x|-include|-isystem|-idirafter|-iquote|-imacros|-Xlinker|-T|-L|-l|-u|-z) want=skip;;
    -*) ;;
    *) first=${first:-$a};;
  esac
done
case $name in *ar|*ranlib) mode=archive;; esac
# A test of autoconf, CMake or meson asks by making something: it is answered for real, as is what goes nowhere.
case $out in /dev/null) mode=ask;; esac
case $PWD in */CMakeFiles/*|*/meson-private*) mode=ask;; esac
for a do
  case $a in conftest*|*/conftest*|libconftest*) mode=ask; break;; esac
done
if [ "$mode" != ask ]; then
  keep "$@" >>"$SUTURE_RECORD/$$"
  printf '%s\0' "$#" "$mode" "$PWD" "$name" "$@" >>"$SUTURE_RECORD/$$"
fi
if [ "$mode" = ask ] || [ "$SUTURE_RECORD_MODE" = pass ]; then
  PATH=$SUTURE_RECORD_PATH
  export PATH
  exec "$name" "$@"
fi
words() {
  for a do
    case $a in *\'*) a=$(printf '%s.' "$a" | sed "s/'/'\\\\''/g"); a=${a%.};; esac
    printf " '%s'" "$a"
  done
}
case $mode in
  archive)
    for a do
      case $a in *.a)
        [ -e "$a" ] || printf '!<arch>\n' >"$a"
        case $a in /*) at=$a;; *) at=$PWD/$a;; esac
        mkdir -p "$SUTURE_RECORD/made$at"
        { words "$PWD" "$@"; echo; } >>"$SUTURE_RECORD/made$at/members"
        exit 0;;
      esac
    done
    exit 0;;
  compile)
    if [ -z "$out" ]; then out=${first##*/}; out=${out%.*}.o; fi
    case $out in /*) at=$out;; *) at=$PWD/$out;; esac
    { printf 'suture-object %s\n' "$at"; words "$PWD" "$name" "$@"; echo; } >"$out"
    [ -z "$dep" ] || : >"$dep";;
  link)
    [ -z "$map" ] || : >"$map"
    out=${out:-a.out}
    {
      printf '#!/bin/sh\n# suture-program\n'
      printf '[ -x "$SUTURE_RECORD_TOOLS/suture-realize" ] && '
      printf 'exec "$SUTURE_RECORD_TOOLS/suture-realize" "$0" "$@"\nexit 1\n:'
      words "$PWD" "$name" "$@"
      echo
    } >"$out"
    chmod +x "$out";;
esac
