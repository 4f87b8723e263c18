#!/bin/sh
# MySQL Connector/J 8.4.0 (Maven Central: com.mysql:mysql-connector-j).
#
# A comma too many in a list of hosts, between two or behind the last, is no
# mistake to it: the empty place is a host, and it is localhost:3306. A template
# whose second host is left empty becomes a failover between the server that was
# meant and whatever database listens on the client's own machine, with the same
# user and password. pgjdbc 42.7.4 drops an empty last host. (Pelorus refuses
# an empty place.)
#
# Seen:
# jdbc:mysql://db1,,db2/d -> FAILOVER_CONNECTION db1:3306 localhost:3306 db2:3306
# jdbc:mysql://db1,/d -> FAILOVER_CONNECTION db1:3306 localhost:3306
# jdbc:postgresql://db1,/d -> db1 5432
set -eu
self=$(realpath "$0")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >pom.xml <<'XML'
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>finding</groupId><artifactId>finding</artifactId><version>1</version><dependencies>
<dependency><groupId>com.mysql</groupId><artifactId>mysql-connector-j</artifactId><version>8.4.0</version></dependency>
<dependency><groupId>org.postgresql</groupId><artifactId>postgresql</artifactId><version>42.7.4</version></dependency>
</dependencies></project>
XML
cat >Main.java <<'JAVA'
import com.mysql.cj.conf.ConnectionUrl;
import com.mysql.cj.conf.HostInfo;
import java.util.Properties;

public class Main {
    public static void main(String[] args) {
        for (String text : new String[] {"jdbc:mysql://db1,,db2/d", "jdbc:mysql://db1,/d"}) {
            ConnectionUrl url = ConnectionUrl.getConnectionUrlInstance(text, new Properties());
            StringBuilder hosts = new StringBuilder();
            for (HostInfo h : url.getHostsList()) {
                hosts.append(' ').append(h.getHost()).append(':').append(h.getPort());
            }
            System.out.println(text + " -> " + url.getType() + hosts);
        }
        String text = "jdbc:postgresql://db1,/d";
        Properties p = org.postgresql.Driver.parseURL(text, new Properties());
        System.out.println(text + " -> " + p.getProperty("PGHOST") + " " + p.getProperty("PGPORT"));
    }
}
JAVA
mvn -q -B dependency:copy-dependencies -DoutputDirectory=lib >&2
javac -nowarn -cp 'lib/*' -d . Main.java
java -cp '.:lib/*' Main | tee said
sed -n 's/^# \(jdbc:.* -> .*\)$/\1/p' "$self" | diff - said
