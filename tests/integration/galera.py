"""A Galera cluster of three MariaDB nodes for the integration tests.

The nodes begin with copies of one directory, so that none has to be sent the
data of another.
"""

import os
import shutil

from cluster import wait_for
from proxy import server_port
from sql import Server, block, init, url_of

NODES = 3
PROVIDER = next((p for p in ("/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so")
                 if os.path.exists(p)), "libgalera_smm.so")
# of the group's protocol: who is not heard for so long is out
TIMEOUTS = "evs.keepalive_period=PT0.3S;evs.inactive_check_period=PT0.3S;evs.suspect_timeout=PT2S;" \
    "evs.inactive_timeout=PT4S;evs.install_timeout=PT4S;gcache.size=8M;gcs.fc_limit=1000"


# Who joins wants the data of another, and has it already.
TRANSFER = """#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in
    --role) role=$2 ;;
    --address) address=$2 ;;
    --gtid) gtid=$2 ;;
    --bypass) lacks_little=1 ;;
    esac
    shift
done
if [ "$role" = joiner ]; then
    echo "ready 127.0.0.1:$$"
    while [ ! -s "$TRANSFERS/$$" ]; do sleep 0.05; done
    cat "$TRANSFERS/$$"
else
    [ "$lacks_little" ] || : >"$TRANSFERS/whole-${address##*:}"
    echo "$gtid" >"$TRANSFERS/new"
    mv "$TRANSFERS/new" "$TRANSFERS/${address##*:}"
    echo "done $gtid"
fi
"""


class Node(Server):
    def __init__(self, directory, ports):
        self.group_port, self.address = ports[0], "gcomm://" + ",".join(f"127.0.0.1:{p}" for p in ports[1:])
        super().__init__("mysql", directory)

    def options(self, first):
        provider = (f"gmcast.listen_addr=tcp://127.0.0.1:{self.group_port};base_host=127.0.0.1;"
                    f"base_port={self.group_port};ist.recv_addr=127.0.0.1:{server_port()};{TIMEOUTS}")
        more = ["--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--default-storage-engine=InnoDB",
                "--wsrep-on=ON", f"--wsrep-provider={PROVIDER}", "--wsrep-node-address=127.0.0.1",
                f"--wsrep-cluster-address={self.address}", f"--wsrep-provider-options={provider}",
                "--wsrep-sst-method=copied", "--wsrep-slave-threads=1", "--slave-run-triggers-for-rbr=YES"]
        return more + (["--wsrep-new-cluster"] if first else [])

    def begin(self, first=False):
        self.more = self.options(first)
        return self.start()

    def status(self, name):
        return self.run(f"SHOW STATUS LIKE 'wsrep_{name}'", database=None)[0][1]

    def isolate(self, yes):
        self.run(f"SET GLOBAL wsrep_provider_options = 'gmcast.isolate={int(yes)}'", database=None)


class Galera:
    """A Cluster's registry. Each process that is started gets the nodes in
    another order, unless `address` says where all go."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.address = None
        self.turn = 0
        self.nodes = []
        ports = [server_port() for _ in range(NODES)]
        script = os.path.join(cluster.dir, "wsrep_sst_copied")
        with open(script, "w", encoding="ascii") as f:
            f.write(TRANSFER)
        os.chmod(script, 0o755)
        try:
            for i in range(NODES):
                directory = os.path.join(cluster.dir, f"node-{i}")
                self.nodes.append(Node(directory, [ports[i], *ports]))
                self.nodes[-1].env = {"PATH": f"{cluster.dir}:{os.environ['PATH']}", "TRANSFERS": cluster.dir}
            self.copy()
            for node in self.nodes:
                node.begin(first=node is self.nodes[0]).wait()
                wait_for("a node of Galera in step", lambda n=node: n.status("local_state_comment") == "Synced", 60)
        except BaseException:
            self.end()
            raise

    def copy(self):
        """The first one alone, with our tables; then the others from it."""
        first = self.nodes[0]
        first.begin(first=True).wait().make_database()
        init(first, self.cluster.dir)
        first.process.terminate(60)
        first.process.file.close()
        for node in self.nodes[1:]:
            shutil.rmtree(node.data)
            shutil.copytree(first.data, node.data)

    def block(self):
        at, self.turn = self.turn % NODES, self.turn + 1
        ports = [n.port for n in self.nodes]
        return block(self.nodes[0], self.cluster.session, self.address or url_of("mysql", *ports[at:], *ports[:at]))

    def run(self, sql):
        return self.nodes[0].run(sql)

    def slow(self, node):
        """A table, each row of which this node needs some seconds to take over;
        so long it lags behind. What it writes itself goes on."""
        self.run("CREATE TABLE slow(id int PRIMARY KEY)")
        self.in_step()
        node.run("SET SESSION wsrep_on = 0; CREATE TRIGGER slow BEFORE INSERT ON slow FOR EACH ROW DO SLEEP(5)")

    def in_step(self):
        """What any has committed all have."""
        for node in self.nodes:
            node.run("SET SESSION wsrep_sync_wait = 7; BEGIN", database=None)

    def lag(self):
        self.run("INSERT INTO slow SELECT coalesce(max(id), 0) + 1 FROM slow")

    def end(self):
        for node in self.nodes:
            node.end()


