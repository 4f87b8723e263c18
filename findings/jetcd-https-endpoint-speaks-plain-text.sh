#!/bin/sh
# jetcd 0.5.11 and 0.7.7 (Maven Central: io.etcd:jetcd-core; slf4j-nop 1.7.36).
#
# An endpoint https://host:port is valid, is taken without a word, and is spoken
# to in plain text: the first bytes on the wire are HTTP/2's preface, and a
# user's password would follow them. The scheme means nothing; TLS is spoken if
# and only if the builder was given an sslContext, with http:// as well.
# (So an address https:// is no protection to a Java client, and one that is
# written http:// may be TLS: Pelorus speaks TLS to it if all three files are
# given, as DolphinScheduler hands jetcd a context exactly then.)
#
# Seen, with each version:
# https without sslContext: plain text: PRI * HTTP/2.0
# http with sslContext: TLS
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >Main.java <<'JAVA'
import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.ClientBuilder;
import io.grpc.netty.GrpcSslContexts;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.TimeUnit;

public class Main {
    static String first(String scheme, boolean context) throws Exception {
        String[] said = {"nothing"};
        try (ServerSocket server = new ServerSocket(0, 5, InetAddress.getByName("127.0.0.1"))) {
            Thread listener = new Thread(() -> {
                try (Socket s = server.accept()) {
                    byte[] b = new byte[16];
                    int n = s.getInputStream().read(b);
                    said[0] = b[0] == 0x16 ? "TLS" : "plain text: "
                        + new String(b, 0, Math.max(n, 0), StandardCharsets.ISO_8859_1).trim();
                } catch (Exception e) {
                    said[0] = e.toString();
                }
            });
            listener.start();
            ClientBuilder builder = Client.builder().endpoints(scheme + "://127.0.0.1:" + server.getLocalPort());
            if (context) {
                builder.sslContext(GrpcSslContexts.forClient().build());
            }
            Client client = builder.build();
            try {
                client.getKVClient().get(ByteSequence.from("x", StandardCharsets.UTF_8)).get(20, TimeUnit.SECONDS);
            } catch (Exception e) { // nobody answers
            }
            listener.join(20000);
            client.close();
        }
        return said[0];
    }

    public static void main(String[] args) throws Exception {
        java.util.logging.LogManager.getLogManager().reset();
        System.out.println("https without sslContext: " + first("https", false));
        System.out.println("http with sslContext: " + first("http", true));
        System.exit(0);
    }
}
JAVA
for version in 0.5.11 0.7.7; do
    mkdir "$version"
    cat >"$version/pom.xml" <<XML
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>finding</groupId><artifactId>finding</artifactId><version>1</version><dependencies>
<dependency><groupId>io.etcd</groupId><artifactId>jetcd-core</artifactId><version>$version</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
XML
    mvn -q -B -f "$version/pom.xml" dependency:copy-dependencies -DoutputDirectory=lib >&2
    javac -nowarn -cp "$version/lib/*" -d "$version" Main.java 2>/dev/null
    echo "jetcd $version"
    java -cp "$version:$version/lib/*" Main 2>/dev/null | tee said
    grep -qx 'https without sslContext: plain text: PRI \* HTTP/2.0' said
    grep -qx 'http with sslContext: TLS' said
done
