#!/bin/sh
# A throw-away authority and the certificate of orders.example.com, made on first use, never committed.
set -eu
mkdir -p /demo/tls
cd /demo/tls
[ ! -f server.crt ] || exit 0
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 30 -subj "/CN=latticegate demo"
openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj "/CN=orders.example.com"
printf 'subjectAltName=DNS:orders.example.com\n' >extensions
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 30 -extfile extensions
rm -f server.csr extensions
