#!/bin/sh
# ZooKeeper 3.8.0 as Debian 12 packages it (libzookeeper-java 3.8.0-11+deb12u2
# with libnetty-java 1:4.1.48-7+deb12u2; a Java runtime and openssl are taken
# from the system).
#
# With secureClientPort and the Netty connection factory, as ZooKeeper's guide to
# TLS has it, the server starts, says that the secure port is bound, listens and
# accepts, and closes every connection before it has said a word of TLS: a client
# sees an end of file and no alert. The Class-Path in zookeeper.jar's manifest
# names netty-handler.jar but not netty-codec.jar, which holds the class that
# the TLS handler extends; the error is a warning in the server's log, once for
# each connection. netty-all.jar, which is there too, is empty. With netty-codec
# and netty-resolver on the class path the same configuration works.
# (Pelorus' guide for ZooKeeper behind TLS does not lean on Debian's server.)
#
# Seen:
# as packaged: bound yes, certificate none, NoClassDefFoundError io/netty/handler/codec/ByteToMessageDecoder
# with netty-codec and netty-resolver: bound yes, certificate CN = localhost
set -eu
self=$(realpath "$0")
packages="libzookeeper-java=3.8.0-11+deb12u2 libnetty-java=1:4.1.48-7+deb12u2 libslf4j-java=1.7.32-1
 libjackson2-core-java libjackson2-databind-java libjackson2-annotations-java libdropwizard-metrics-java
 libcommons-cli-java libcommons-io-java libsnappy-java libfindbugs-annotations-java libjetty9-java libjetty9-extra-java"
dir=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || :; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
cd "$dir"
chmod 755 .
mkdir debs data
(cd debs && apt-get download -qq -o APT::Sandbox::User=root $packages) >&2
for deb in debs/*.deb; do
    dpkg-deb -x "$deb" root
done
jars=$dir/root/usr/share/java
# What the manifest names, from our own folder.
manifest=$(unzip -p "$jars/zookeeper.jar" META-INF/MANIFEST.MF | tr -d '\r' |
    sed -n ':a;N;$!ba;s/\n //g;p' | sed -n 's/^Class-Path: //p')
packaged=$jars/zookeeper.jar:$jars/slf4j-simple.jar
for jar in $manifest; do
    packaged=$packaged:$jars/${jar##*/}
done

keytool -genkeypair -alias server -keyalg RSA -dname CN=localhost -validity 30 \
    -keystore key.p12 -storetype PKCS12 -storepass changeit 2>/dev/null
keytool -exportcert -alias server -keystore key.p12 -storepass changeit -file server.crt 2>/dev/null
keytool -importcert -noprompt -alias server -file server.crt \
    -keystore trust.p12 -storetype PKCS12 -storepass changeit 2>/dev/null
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >zoo.cfg <<CFG
dataDir=$dir/data
admin.enableServer=false
secureClientPort=$port
secureClientPortAddress=127.0.0.1
serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory
ssl.keyStore.location=$dir/key.p12
ssl.keyStore.password=changeit
ssl.trustStore.location=$dir/trust.p12
ssl.trustStore.password=changeit
ssl.clientAuth=none
CFG

try() { # name, class path
    java -cp "$2" org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg >log 2>&1 &
    pid=$!
    bound=no
    for _ in $(seq 100); do
        if grep -q 'bound to port' log; then
            bound=yes
            break
        fi
        sleep 0.2
    done
    subject=$(timeout 20 openssl s_client -connect "127.0.0.1:$port" </dev/null 2>/dev/null |
        openssl x509 -noout -subject 2>/dev/null | sed 's/^subject=//') || subject=
    sleep 1
    error=$(sed -n 's/.*\(NoClassDefFoundError\): \(.*\)/, \1 \2/p' log | head -1)
    echo "$1: bound $bound, certificate ${subject:-none}$error"
    kill -9 "$pid"
    wait "$pid" 2>/dev/null || :
    pid=
}
{
    try "as packaged" "$packaged"
    try "with netty-codec and netty-resolver" "$packaged:$jars/netty-codec.jar:$jars/netty-resolver.jar"
} | tee said
sed -n 's/^# \(as packaged: .*\|with netty-codec and .*: bound .*\)$/\1/p' "$self" | diff - said
