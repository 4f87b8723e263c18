#!/bin/sh
# ZooKeeper's C client 3.8.0, as Debian 12 packages it: libzookeeper-st2 and
# libzookeeper-mt2 3.8.0-11+deb12u2, with the server of libzookeeper-java of the
# same version (a Java runtime, gcc and python3 are taken from the system).
#
# A request that is under way when the connection is reset is answered
# ZCONNECTIONLOSS (-4), by both builds as a rule. In the build without threads a
# request is sent within zoo_aget() itself; if that send meets the reset before
# zookeeper_process() does, the connection is closed and those under way stay in
# the list of what was sent. The next connection's first answer then meets the
# oldest of them: "unexpected server response", and all are answered
# ZRUNTIMEINCONSISTENCY (-2), which of a multi means "not carried out, for another
# operation failed". A create that was carried out is answered so as well. The
# build with threads sends on its own thread, which sees the reset first: the
# create is answered -4, and the next request goes over the next connection.
# (Pelorus breaks the next connection before anything is sent on it.)
#
# Seen:
# with threads: create -4, get 0, the node is there
# without: create -2, get -2, the node is there
set -eu
self=$(realpath "$0")
packages="libzookeeper-st2=3.8.0-11+deb12u2 libzookeeper-mt2=3.8.0-11+deb12u2 libzookeeper-st-dev=3.8.0-11+deb12u2
 libzookeeper-java=3.8.0-11+deb12u2 libnetty-java=1:4.1.48-7+deb12u2 libslf4j-java=1.7.32-1
 libjackson2-core-java libjackson2-databind-java libjackson2-annotations-java libdropwizard-metrics-java
 libcommons-cli-java libcommons-io-java libsnappy-java libfindbugs-annotations-java libjetty9-java libjetty9-extra-java"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
cd "$dir"
chmod 755 .
mkdir debs
(cd debs && apt-get download -qq -o APT::Sandbox::User=root $packages) >&2
for deb in debs/*.deb; do
    dpkg-deb -x "$deb" root
done
cat >client.c <<'C'
#include <zookeeper/zookeeper.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#ifdef THREADED
int zookeeper_interest(zhandle_t *, int *, int *, struct timeval *);
int zookeeper_process(zhandle_t *, int);
#endif
static zhandle_t *zh;
static volatile int connected, codes[2], answered;

static void on_event(zhandle_t *z, int type, int state, const char *path, void *arg)
{
    (void)z, (void)path, (void)arg;
    if (type == ZOO_SESSION_EVENT && state == ZOO_CONNECTED_STATE)
        connected = 1;
}
static void on_made(int rc, const char *value, const void *arg)
{
    (void)value, (void)arg;
    codes[0] = rc, answered++;
}
static void on_data(int rc, const char *value, int len, const struct Stat *stat, const void *arg)
{
    (void)value, (void)len, (void)stat, (void)arg;
    codes[1] = rc, answered++;
}
static void turn(void)
{
#ifdef THREADED
    usleep(20000);
#else
    int fd = -1, interest = 0, events;
    struct timeval left;
    struct pollfd p = {0};

    zookeeper_interest(zh, &fd, &interest, &left);
    p.fd = fd;
    p.events = (interest & ZOOKEEPER_READ ? POLLIN : 0) | (interest & ZOOKEEPER_WRITE ? POLLOUT : 0);
    poll(&p, 1, 20);
    events = (p.revents & POLLIN ? ZOOKEEPER_READ : 0) | (p.revents & (POLLOUT | POLLHUP) ? ZOOKEEPER_WRITE : 0);
    zookeeper_process(zh, events);
#endif
}
static void say(const char *what)
{
    char line[8];

    puts(what);
    fflush(stdout);
    if (fgets(line, sizeof(line), stdin) == NULL)
        _exit(1);
}
int main(int argc, char **argv)
{
    if (argc < 3)
        return 1;
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    zh = zookeeper_init(argv[1], on_event, 10000, NULL, NULL, 0);
    while (!connected)
        turn();
    say("connected");
    zoo_acreate(zh, argv[2], "1", 1, &ZOO_OPEN_ACL_UNSAFE, 0, on_made, NULL);
    say("asked"); /* carried out, answer held up; then the connection is reset */
    zoo_aget(zh, "/zookeeper", 0, on_data, NULL);
    for (time_t until = time(NULL) + 15; answered < 2 && time(NULL) < until;)
        turn();
    if (answered < 2)
        return 1;
    printf("create %d, get %d\n", codes[0], codes[1]);
    return 0;
}
C
lib=$(echo root/usr/lib/*-linux-gnu)
include=-Iroot/usr/include
gcc -DTHREADED $include -o with client.c "$lib"/libzookeeper_mt.so.2
gcc $include -o without client.c "$lib"/libzookeeper_st.so.2
jars=$dir/root/usr/share/java
manifest=$(unzip -p "$jars/zookeeper.jar" META-INF/MANIFEST.MF | tr -d '\r' |
    sed -n ':a;N;$!ba;s/\n //g;p' | sed -n 's/^Class-Path: //p')
path=$jars/zookeeper.jar:$jars/slf4j-simple.jar
for jar in $manifest; do
    path=$path:$jars/${jar##*/}
done
LD_LIBRARY_PATH=$dir/$lib CLASSPATH=$path python3 - >seen <<'PY'
import os, socket, struct, subprocess, threading, time

def free():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]

server = free()
os.mkdir("data")
with open("zoo.cfg", "w") as f:
    f.write(f"tickTime=500\ndataDir=data\nclientPort={server}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n"
            "4lw.commands.whitelist=ruok\n")
java = subprocess.Popen(["java", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
                         "org.apache.zookeeper.server.quorum.QuorumPeerMain", "zoo.cfg"], stderr=subprocess.DEVNULL)

def up():
    try:
        with socket.create_connection(("127.0.0.1", server), 1) as s:
            s.sendall(b"ruok")
            return s.recv(9) == b"imok"
    except OSError:
        return False

class Proxy:
    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.hold, self.client = self.listener.getsockname()[1], False, None
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client = self.listener.accept()[0]
            self.client, behind = client, socket.create_connection(("127.0.0.1", server))
            threading.Thread(target=self.relay, args=(client, behind, False), daemon=True).start()
            threading.Thread(target=self.relay, args=(behind, client, True), daemon=True).start()

    def relay(self, here, there, answers):
        held = False
        try:
            while data := here.recv(65536):
                held |= answers and self.hold
                if not held:
                    there.sendall(data)
        except OSError:
            pass

    def reset(self):
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.client.shutdown(socket.SHUT_RD)    # wakes who reads it
        time.sleep(0.2)
        self.client.close()

try:
    end = time.time() + 60
    while not up() and time.time() < end:
        time.sleep(0.2)
    for name, program in (("with threads", "./with"), ("without", "./without")):
        proxy = Proxy()
        p = subprocess.Popen([program, f"127.0.0.1:{proxy.port}", "/" + program[2:]], text=True, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        p.stdout.readline()
        proxy.hold = True
        p.stdin.write("\n")
        p.stdin.flush()
        p.stdout.readline()
        time.sleep(1)
        proxy.hold = False
        proxy.reset()
        time.sleep(0.2)
        p.stdin.write("\n")
        p.stdin.flush()
        codes = p.communicate(timeout=30)[0].strip()
        q = Proxy()
        again = subprocess.run([program, f"127.0.0.1:{q.port}", "/" + program[2:]], text=True, input="\n\n",
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30).stdout.split("\n")[2]
        there = "there" if again.startswith("create -110") else f"not there ({again})"    # it exists already
        print(f"{name}: {codes}, the node is {there}")
finally:
    java.kill()
    java.wait()
PY
cat seen
sed -n 's/^# \(with threads: create .*\|without: create .*\)$/\1/p' "$self" | diff - seen
