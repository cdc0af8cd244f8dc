#!/bin/sh
# Makes the certificates that the TLS examples beside this directory use: an authority, two servers, one client.
# They are for trying things out on this machine, valid for 30 days. Needs openssl.
set -eu
cd "$(dirname "$0")"

new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

new_key ca.key
openssl req -x509 -new -key ca.key -subj "/CN=example authority" -days 30 -out ca.pem

# sign NAME SUBJECT SUBJECT-ALT-NAMES
sign() {
    new_key "$1.key"
    printf 'subjectAltName=%s\n' "$3" >"$1.ext"
    openssl req -new -key "$1.key" -subj "$2" |
        openssl x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile "$1.ext" -out "$1.pem"
    rm "$1.ext"
}

sign shop "/CN=shop.example.test" "DNS:shop.example.test,DNS:*.shop.example.test"
sign api "/CN=api.example.test" "DNS:api.example.test,URI:spiffe://example.test/api"
sign client "/O=Example/CN=billing" "DNS:billing.example.test,URI:spiffe://example.test/billing"
