#!/bin/sh
# Starts Mosquitto for the hub; makes the hub's own account when there is none yet.
#
#   entrypoint.sh          start the broker, with TLS when there is a certificate
#   entrypoint.sh renew    have the running broker take a renewed certificate; nobody is cut off
#
#   MQTT_USERNAME[_FILE]   the hub's own account; contains an upper-case letter or '.', so that no
#                          device key can be the same
#   MQTT_PASSWORD[_FILE]   its secret, at least 32 characters, asked for at the first start only
#   MOSQUITTO_CONF         this configuration (default: /mosquitto/config/mosquitto.conf)
#   MOSQUITTO_TLS          folder with fullchain.pem and privkey.pem (default: tls beside the configuration)
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

# take_certificate: copy it to where the user that the broker becomes can read it, and nobody else. The broker does not
# follow links either, as certbot's are.
take_certificate() {
    mkdir -p "$data/tls"
    for name in fullchain.pem privkey.pem; do
        cp "$tls/$name" "$data/tls/$name.new" || die "$tls/$name cannot be read"
        own "$data/tls/$name.new"
    done
    own "$data/tls"
    mv "$data/tls/fullchain.pem.new" "$data/tls/fullchain.pem"
    mv "$data/tls/privkey.pem.new" "$data/tls/privkey.pem"
}

renew() {
    grep -q '^keyfile' "$data/running.conf" || die "the broker was started without a certificate: restart it once"
    take_certificate
    running=$(cat "$data/running.pid")
    [ "$(cat "/proc/$running/comm" 2>/dev/null)" = mosquitto ] || die "the broker does not run"
    kill -HUP "$running"
}

umask 077
conf=${MOSQUITTO_CONF:-/mosquitto/config/mosquitto.conf}
[ -r "$conf" ] || die "$conf cannot be read; set MOSQUITTO_CONF"
accounts=$(setting plugin_opt_config_file)
data=$(setting persistence_location)
data=${data%/}
tls=${MOSQUITTO_TLS:-$(dirname "$conf")/tls}
if [ "${1:-}" = renew ]; then
    renew
    exit
fi
mkdir -p "$data"
own "$data"
plugin=$(find_plugin)
[ -s "$accounts" ] || make_first_account
unset MQTT_PASSWORD MQTT_PASSWORD_FILE secret

encrypted=
if [ -e "$tls/privkey.pem" ]; then
    take_certificate
    encrypted='s|^#tls ||'
else
    echo "mosquitto/entrypoint.sh: no certificate in $tls, so there is no TLS: see README.md" >&2
fi

# The broker reads a copy: with this machine's path of the plugin, and the TLS listener where there is a certificate.
sed "s|^plugin .*|plugin $plugin|; $encrypted" "$conf" >"$data/running.conf"
own "$data/running.conf"
echo $$ >"$data/running.pid"
exec mosquitto -c "$data/running.conf"
