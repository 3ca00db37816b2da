#!/bin/sh
# Starts what `docker run redis:7-alpine ...` names, as the official image does.
set -eu

# Options or a config file alone are redis-server's.
case $1 in
    -* | *.conf) set -- redis-server "$@" ;;
esac

# Root only makes the folder redis' own.
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
    find . ! -user redis -exec chown redis {} +
    # shellcheck disable=SC2016 # su's shell fills these in
    exec su -s /bin/sh -c 'exec "$0" "$@"' -- redis "$0" "$@"
fi

if [ "$1" = redis-server ]; then
    # Files that redis makes are its own affair, unless another umask was asked for.
    if [ "$(umask)" = 0022 ]; then umask 0077; fi
    # Debian's redis answers only its own machine unless told otherwise; the official one answers all.
    # A config file decides for itself: it has to stay the first word.
    case ${2-} in
        -v | --version | -h | --help | --test-memory | --check-system) ;;
        '' | --*) shift && set -- redis-server --protected-mode no "$@" ;;
    esac
fi

exec "$@"
