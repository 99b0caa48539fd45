#!/bin/sh
# Starts Mosquitto for the hub; makes the hub's own account when there is none yet.
#
#   MQTT_USERNAME[_FILE]   the hub's own account; contains an upper-case letter or '.', so that no
#                          device key can be the same
#   MQTT_PASSWORD[_FILE]   its secret, at least 32 characters, asked for at the first start only
#   MOSQUITTO_CONF         this configuration (default: /mosquitto/config/mosquitto.conf)
#
# There is no default secret. It is passed to mosquitto_ctrl through a pipe, never as an argument,
# and unset before the broker starts.
set -eu

die() {
    echo "mosquitto/entrypoint.sh: $*" >&2
    exit 1
}

# read_secret NAME: print $NAME, or what the file $NAME_FILE holds.
read_secret() {
    eval "value=\${$1:-} file=\${$1_FILE:-}"
    if [ -n "$file" ]; then
        [ -r "$file" ] || die "$1_FILE=$file cannot be read"
        # A file edited by hand ends with a newline; the substitution drops it.
        value=$(cat "$file")
    fi
    printf '%s' "$value"
}

# setting NAME: print the value of NAME in the configuration.
setting() {
    sed -n "s/^$1[[:space:]]\{1,\}//p" "$conf" | head -n 1
}

# Docker's image (Alpine), then Debian's multiarch folders, then whatever the configuration names.
find_plugin() {
    for path in "$(setting plugin)" /usr/lib/mosquitto_dynamic_security.so \
        /usr/lib/*/mosquitto_dynamic_security.so /usr/local/lib/mosquitto_dynamic_security.so; do
        if [ -f "$path" ]; then
            printf '%s' "$path"
            return
        fi
    done
    die "mosquitto_dynamic_security.so not found; install Mosquitto 2 with its plugins"
}

make_first_account() {
    user=$(read_secret MQTT_USERNAME)
    secret=$(read_secret MQTT_PASSWORD)
    [ -n "$user" ] || die "set MQTT_USERNAME (or _FILE) to the hub's own account, e.g. Hub-1"
    case $user in
    *[A-Z.]*) ;;
    *) die "MQTT_USERNAME must have an upper-case letter or '.', unlike any device key" ;;
    esac
    [ "${#secret}" -ge 32 ] || die "set MQTT_PASSWORD (or _FILE) to at least 32 random characters"
    # Written beside and moved, so that a start which was cut short leaves nothing half made.
    rm -f "$accounts.new"
    printf '%s\n%s\n' "$secret" "$secret" |
        mosquitto_ctrl dynsec init "$accounts.new" "$user" >/dev/null ||
        die "mosquitto_ctrl could not write $accounts.new"
    [ -s "$accounts.new" ] || die "mosquitto_ctrl wrote nothing to $accounts.new"
    own "$accounts.new"
    mv "$accounts.new" "$accounts"
}

# own FILE: give it to the user that the broker becomes when it is started by root.
own() {
    if [ "$(id -u)" = 0 ] && id mosquitto >/dev/null 2>&1; then
        chown mosquitto:mosquitto "$1"
    fi
}

umask 077
conf=${MOSQUITTO_CONF:-/mosquitto/config/mosquitto.conf}
[ -r "$conf" ] || die "$conf cannot be read; set MOSQUITTO_CONF"
accounts=$(setting plugin_opt_config_file)
data=$(setting persistence_location)
data=${data%/}
mkdir -p "$data"
own "$data"
plugin=$(find_plugin)
[ -s "$accounts" ] || make_first_account
unset MQTT_PASSWORD MQTT_PASSWORD_FILE secret

# The broker reads a copy whose plugin path is this machine's; everything else is as written.
sed "s|^plugin .*|plugin $plugin|" "$conf" >"$data/running.conf"
own "$data/running.conf"
exec mosquitto -c "$data/running.conf"
