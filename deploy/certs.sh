#!/bin/sh
# Makes certificates for TLS: `certs.sh DIR NAME ADDRESS...` makes DIR/NAME.crt and DIR/NAME.key, for a server
# or a client that is reached at these addresses (names or IPs), signed by DIR/ca.crt, which it makes if it is
# not there. Run it on a machine that nobody else uses, and keep DIR/ca.key there.
set -eu

[ $# -ge 3 ] || { echo "certs.sh DIR NAME ADDRESS..." >&2; exit 64; }
dir=$1 name=$2
shift 2
umask 077
mkdir -p "$dir"
cd "$dir"

key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1"; }

if [ ! -f ca.crt ]; then
    key ca.key
    openssl req -x509 -new -key ca.key -days 3650 -subj "/CN=Thetis' authority" -out ca.crt
fi

names=
for address in "$@"; do
    case $address in
    *:*) names="$names,IP:$address" ;;
    *[!0-9.]*) names="$names,DNS:$address" ;;
    *) names="$names,IP:$address" ;;
    esac
done
key "$name.key"
printf 'basicConstraints = CA:FALSE\nkeyUsage = digitalSignature\nextendedKeyUsage = serverAuth, clientAuth\nsubjectAltName = %s\n' \
    "${names#,}" >"$name.ext"
openssl req -new -key "$name.key" -subj "/CN=$name" |
    openssl x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -days 825 -extfile "$name.ext" -out "$name.crt" 2>/dev/null
rm "$name.ext"
echo "$dir/$name.crt: until $(openssl x509 -in "$name.crt" -noout -enddate | cut -d= -f2)"
