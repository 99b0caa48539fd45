#!/bin/sh
# Makes a certificate authority of your own, and with it the broker's certificate. For who has no public name.
#
#   sh mosquitto/certificates.sh hub.example.org 192.0.2.7
#
# Name every host name and address under which devices and the hub reach the broker. Run it again at any time: what is
# there stays, unless the names have changed or fewer than 30 days are left. The authority is never made anew, since all
# devices trust it: to replace it, move its folder away yourself.
#
#   $CERTIFICATES (default ./certificates)
#     authority/ca.key      whoever has it can be your broker: keep it off the network, bring it back to renew
#     public/ca.crt         what devices, the hub (MQTT_CA) and mosquitto_pub (--cafile) trust; ca.der for MicroPython
#     server/fullchain.pem, server/privkey.pem      what the broker shows (entrypoint.sh takes them)
set -eu
umask 077

AUTHORITY_DAYS=7300 # devices carry it for their whole life
SERVER_DAYS=825     # the longest that Apple's clients take
RENEW_DAYS=30

die() {
    echo "mosquitto/certificates.sh: $*" >&2
    exit 1
}

# names NAME…: the certificate's own way to write them.
names() {
    written=
    for name in "$@"; do
        case $name in
        *[!A-Za-z0-9.:_*-]* | '') die "'$name' is neither a host name nor an address" ;;
        *:*) kind=IP ;;
        *[!0-9.]*) kind=DNS ;;
        *) kind=IP ;;
        esac
        written="$written${written:+,}$kind:$name"
    done
    printf '%s' "$written"
}

make_authority() {
    echo "making a certificate authority: $authority/ca.key, $public/ca.crt"
    openssl ecparam -name prime256v1 -genkey -noout -out "$work/ca.key"
    openssl req -x509 -new -sha256 -key "$work/ca.key" -days "$AUTHORITY_DAYS" -config "$work/ca.cnf" -out "$work/ca.crt"
    openssl x509 -in "$work/ca.crt" -outform DER -out "$work/ca.der"
    chmod 644 "$work/ca.crt" "$work/ca.der"
    mv "$work/ca.key" "$authority/ca.key"
    mv "$work/ca.der" "$work/ca.crt" "$public/"
}

make_certificate() {
    echo "making a certificate for $wanted: $server/fullchain.pem, $server/privkey.pem"
    openssl ecparam -name prime256v1 -genkey -noout -out "$work/privkey.pem"
    openssl req -new -sha256 -key "$work/privkey.pem" -config "$work/server.cnf" -out "$work/server.csr"
    openssl x509 -req -sha256 -in "$work/server.csr" -days "$SERVER_DAYS" -extfile "$work/server.cnf" -extensions shown \
        -CA "$public/ca.crt" -CAkey "$authority/ca.key" -set_serial "0x$(openssl rand -hex 16)" \
        -out "$work/fullchain.pem" 2>/dev/null || die "openssl could not sign; is $authority/ca.key that of $public/ca.crt?"
    openssl verify -x509_strict -CAfile "$public/ca.crt" "$work/fullchain.pem" >/dev/null ||
        die "the new certificate does not hold against $public/ca.crt"
    printf '%s' "$wanted" >"$work/names"
    mv "$work/privkey.pem" "$work/fullchain.pem" "$work/names" "$server/"
}

good() {
    [ -s "$server/privkey.pem" ] && [ "$(cat "$server/names" 2>/dev/null)" = "$wanted" ] &&
        openssl x509 -in "$server/fullchain.pem" -noout -checkend $((RENEW_DAYS * 86400)) >/dev/null 2>&1 &&
        openssl verify -CAfile "$public/ca.crt" "$server/fullchain.pem" >/dev/null 2>&1
}

[ $# -gt 0 ] || die "name the hosts and addresses under which the broker is reached, e.g. hub.example.org"
command -v openssl >/dev/null || die "openssl is missing: apt-get install openssl"
wanted=$(names "$@")
folder=${CERTIFICATES:-certificates}
authority=$folder/authority public=$folder/public server=$folder/server
mkdir -p "$authority" "$public" "$server"
chmod 755 "$folder" "$public"
work=$(mktemp -d "$folder/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

cat >"$work/ca.cnf" <<END
[req]
prompt = no
distinguished_name = name
x509_extensions = own
[name]
CN = Telemetry Hub authority
[own]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
END
cat >"$work/server.cnf" <<END
[req]
prompt = no
distinguished_name = name
[name]
CN = Telemetry Hub broker
[shown]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = $wanted
END

if [ ! -e "$public/ca.crt" ] && [ ! -e "$authority/ca.key" ]; then
    make_authority
fi
[ -s "$public/ca.crt" ] || die "$public/ca.crt is gone, but not its key: bring it back, or move $authority away to begin anew"
if good; then
    echo "nothing to do: $server/fullchain.pem is for $wanted, and good for more than $RENEW_DAYS days"
    exit 0
fi
[ -s "$authority/ca.key" ] || die "$authority/ca.key is needed to sign: bring it back for a moment"
make_certificate
