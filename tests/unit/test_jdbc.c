/*
 * test_jdbc.c - what a JDBC URL means to us: what pgjdbc 42.7.4, Connector/J
 * 8.4.0 and MariaDB Connector/J 3.4.1 say that it means (each line was asked
 * there: Driver.parseURL, ConnectionUrl, Configuration.parse), what it must not
 * come to mean to the C libraries, and that nothing of it is shown that may be
 * a password.
 * (Longer than 500 lines: tables.)
 */
#include "conf/jdbc_url.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define TEST(f)   cmocka_unit_test(f)
#define PG        "jdbc:postgresql:"
#define MY        "jdbc:mysql:"
#define MA        "jdbc:mariadb:"
#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static struct jdbc_url t;
static struct err problem;

static int parse(const char *text)
{
    conf_jdbc_url_close(&t);
    err_clear(&problem);
    return conf_jdbc_url_parse(&t, text, &problem);
}

static void accept(const char *text)
{
    if (parse(text) != 0)
        fail_msg("%s: %s", text, problem.msg);
}

static void refuse(const char *text, const char *word)
{
    assert_int_equal(parse(text), ERR_INVALID);
    if (strstr(problem.msg, word) == NULL ||
        strstr(problem.msg, "; write ") == NULL)
        fail_msg("%s: %s", text, problem.msg);
}

static void put(struct buf *out, const char *name, const char *value)
{
    if (value != NULL)
        buf_printf(out, " %s=%s", name, value);
}

/* Everything that was read, but for what has its default. */
static char *summary(void)
{
    static const char *const tls[] = {"off", NULL, "on", "ca", "host"};
    struct buf out;
    char *text;

    buf_init(&out, 4096);
    for (size_t i = 0; i < t.n_hosts; i++) {
        buf_printf(&out, "%s%s:%u", i > 0 ? "," : "", t.hosts[i].name,
                   t.hosts[i].port);
        put(&out, "u", t.hosts[i].user);
        put(&out, "p", t.hosts[i].password);
    }
    put(&out, "db", t.database);
    put(&out, "user", t.user);
    put(&out, "password", t.password);
    put(&out, "tls", tls[t.tls]);
    put(&out, "schema", t.schema);
    put(&out, "options", t.options);
    put(&out, "app", t.application);
    put(&out, "ca", t.ca);
    put(&out, "cert", t.cert);
    put(&out, "key", t.key);
    put(&out, "keypass", t.key_password);
    if (t.connect_ms != 0)
        buf_printf(&out, " connect=%d", (int)t.connect_ms);
    if (t.call_ms != 0)
        buf_printf(&out, " call=%d", (int)t.call_ms);
    text = mem_strdup(buf_text(&out));
    buf_close(&out);
    return text;
}

struct row {
    const char *url, *means;
};

static void means(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *text;

        accept(rows[i].url);
        text = summary();
        if (strcmp(text, rows[i].means) != 0) {
            fail_msg("%s\n  means  %s\n  wanted %s", rows[i].url, text,
                     rows[i].means);
        }
        mem_free(text);
    }
}

static void refused(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        refuse(rows[i].url, rows[i].means);
}

static void hosts_of_postgresql(void **state)
{
    static const struct row good[] = {
        {PG "//h/d", "h:5432 db=d"},
        {PG "//h:5/d", "h:5 db=d"},
        {PG "//a.b-c_d,[::1]:5,10.0.0.1/d?x=y",
         "a.b-c_d:5432,::1:5,10.0.0.1:5432 db=d"},
        {PG "//h, i/d", "h:5432,i:5432 db=d"},
        {PG "//h,/d", "h:5432 db=d"},
        {PG "d", "localhost:5432 db=d"},
        {PG "d?user=x", "localhost:5432 db=d user=x"},
        {PG "", "localhost:5432"},
        {PG "///d", "localhost:5432 db=d"},
        {PG "//h/", "h:5432"},
        {PG "//?user=x", "localhost:5432 user=x"},
    };
    static const struct row bad[] = {
        {PG "/", "one '/'"},
        {PG "//h", "no '/'"},
        {PG "//h?user=x", "no '/'"},
        {PG "//h/d/e", "%2F"},
        {PG "//h:0/d", "port"},
        {PG "//h:/d", "port"},
        {PG "//h:x/d", "port"},
        {PG "//h:99999/d", "port"},
        {PG "//h,,i/d", "a host without a name"},
        {PG "//,h/d", "a host without a name"},
        {PG "//u:pw@h/d", "'@'"},
        {PG "//u:pw@h:5432/d", "'@'"},
        {PG "//host=other dbname=x/d", "holds a '='"},
        {PG "//%2Ftmp/d", "holds a '%'"},
        {PG "//[=]:1/d", "holds a '='"},
        {PG "//a,b,c,d,e,f,g,h,i/d", "more than 8 hosts"},
        {PG "//h/d?host=i", "second time"},
        {PG "//h/d?PGHOST=i", "second time"},
        {PG "//h/d?service=i", "second time"},
    };

    (void)state;
    means(good, LENGTH(good));
    refused(bad, LENGTH(bad));
}

static void hosts_of_mysql(void **state)
{
    static const struct row good[] = {
        {MY "//localhost:3307/d", "localhost:3307 db=d"},
        {"JDBC:MYSQL://h/d", "h:3306 db=d"},
        {MY "///d", "localhost:3306 db=d"},
        {MY "//h1, h2:5/d", "h1:3306,h2:5 db=d"},
        {MY "//h /d", "h:3306 db=d"},
        {MY "//h:/d", "h:3306 db=d"},
        {MY "//[::1]/d", "::1:3306 db=d"},
        {MY "//[::1]:5/d#x", "::1:5 db=d"},
        {MY "//u:p@h/d", "h:3306 u=u p=p db=d"},
        {MY "//u:p%40x@h:5/d", "h:5 u=u p=p@x db=d"},
        {MY "//u:p+2@h/d", "h:3306 u=u p=p 2 db=d"},
        {MY "//u:p:q@h/d", "h:3306 u=u p=p:q db=d"},
        {MY "//u@h/d", "h:3306 u=u db=d"},
        {MY "//:p@h/d", "h:3306 p=p db=d"},
        {MY "//@h/d", "h:3306 db=d"},
        {MY "//u:p@h1,u2:p2@h2/d", "h1:3306 u=u p=p,h2:3306 u=u2 p=p2 db=d"},
        {MY "//u:p@h1,h2/d", "h1:3306 u=u p=p,h2:3306 db=d"},
        {MY "//u:p@[h1,h2:5]/d", "h1:3306 u=u p=p,h2:5 u=u p=p db=d"},
        {MY "//address=(host=h)(port=5)/d", "h:5 db=d"},
        {MY "//ADDRESS=(HOST=h)(PORT=5)/d", "h:5 db=d"},
        {MY "//address=(protocol=tcp)(host=h)(port=5)(user=u)(password=p)/d",
         "h:5 u=u p=p db=d"},
        {MY "//address=(host=h)(=x)(dbname=q)/d", "h:3306 db=d"},
        {MY "//address=(host=h1),address=(host=h2)/d", "h1:3306,h2:3306 db=d"},
        {MY "//address=(host=::1)(port=5)/d", "::1:5 db=d"},
        {MY "//address=(host=[::1])(port=5)(type=master)/d", "::1:5 db=d"},
        {MY "//(host=h,port=5)/d", "h:5 db=d"},
        {MY "//(host=h,password=p%203+x)/d", "h:3306 p=p 3 x db=d"},
        {MY "//u:p@(host=h,user=u3)/d", "h:3306 u=u p=p db=d"},
        {MY "//u:p@address=(host=h)/d", "h:3306 u=u p=p db=d"},
        {MY "//u:p@[(host=h1),address=(host=h2),h3:7]/d",
         "h1:3306 u=u p=p,h2:3306 u=u p=p,h3:7 u=u p=p db=d"},
        {MY "//(host=h,sslMode=REQUIRED)/d", "h:3306 db=d tls=on"},
        {MY "loadbalance://h1,h2/d", "h1:3306,h2:3306 db=d"},
        {MY "replication://h1,h2/d", "h1:3306,h2:3306 db=d"},
        {MY "//h?dbname=e", "h:3306 db=e"},
        {MA "//h/d", "h:3306 db=d"},
        {MA "//address=(host=h)(port=5),i:7/d", "h:5,i:7 db=d"},
        {MA "sequential://h, i/d", "h:3306,i:3306 db=d"},
    };
    static const struct row bad[] = {
        {MY "//h", "names no database"},
        {MY "//h/", "names no database"},
        {MY "//h?user=x", "names no database"},
        {MY "//h:99999/d", "port"},
        {MY "//h:0/d", "port"},
        {MY "//h:x/d", "port"},
        {MY "//h,,i/d", "a host without a name"},
        {MY "//h,/d", "a host without a name"},
        {MY "//a=b/d", "holds a '='"},
        {MY "//h,host=other:3306/d", "holds a '='"},
        {MY "//(host=a=b)/d", "holds a '='"},
        {MY "//(host=a%2Fb)/d", "holds a '/'"},
        {MY "//address=(host=h/d", "parentheses"},
        {MY "//address=(protocol=pipe)(path=x)/d", "protocol"},
        {MY "//h;x/d", "holds a ';'"},
        {MY "//h h/d", "holds a ' '"},
        {MY "//[[[[[h,i],j],k],l],m]/d", "in each other"},
        {MY "//u:p@x@h/d", "%40"},
        {"jdbc:mysql+srv://h/d", "mysql+srv"},
        {"jdbc:oracle:thin:@h:1521/d", "not a database we know"},
        {MA "//u:p@h/d", "'@'"},
    };

    (void)state;
    means(good, LENGTH(good));
    refused(bad, LENGTH(bad));
}

/* The libraries get the name as it is; none is a connection string. */
static void a_database_is_any_name(void **state)
{
    static const struct row good[] = {
        {PG "//h/a=b", "h:5432 db=a=b"},
        {PG "//h/a%20b+c", "h:5432 db=a b c"},
        {PG "//h/postgresql%3A%2F%2Fother%2Fx?ssl=false",
         "h:5432 db=postgresql://other/x"},
        {PG "//h/d#x", "h:5432 db=d#x"},
        {MY "//h/a%20b", "h:3306 db=a b"},
        {MY "//h/a+b", "h:3306 db=a b"},
        {MY "//h/a%2Fb", "h:3306 db=a/b"},
        {MY "//h/d/e", "h:3306 db=d/e"},
        {MA "//h/a%20b", "h:3306 db=a%20b"},
    };
    static const struct row bad[] = {
        {PG "//h/%zz", "a %"},
        {MY "//h/a%2", "a %"},
        {MY "//h/a%00b", "a %"},
    };

    (void)state;
    means(good, LENGTH(good));
    refused(bad, LENGTH(bad));
}

static void who_we_are(void **state)
{
    static const struct row good[] = {
        {PG "//h/d?user=u%40x&password=a%26b%3Dc+d",
         "h:5432 db=d user=u@x password=a&b=c d"},
        {PG "//h/d?user=u;password=p", "h:5432 db=d user=u;password=p"},
        {PG "//h/d?user=a&user=b", "h:5432 db=d user=b"},
        {PG "//h/d?user=x&&password=y", "h:5432 db=d user=x password=y"},
        {PG "//h/d?password=a=b", "h:5432 db=d password=a=b"},
        {MY "//h/d?user=a%40b&password=c%26d+e",
         "h:3306 db=d user=a@b password=c&d e"},
        {MY "//h/d?USER=x&pass%77ord=y", "h:3306 db=d user=x password=y"},
        {MY "//h/d?user=a;password=b", "h:3306 db=d user=a;password=b"},
        {MY "//h/d?password=b#c", "h:3306 db=d password=b"},
        {MA "//h/d?user=a%40b&PASSWORD=c%26d+e",
         "h:3306 db=d user=a%40b password=c%26d+e"},
        {PG "//h/d?ApplicationName=x", "h:5432 db=d app=x"},
    };
    static const struct row bad[] = {
        {PG "//h/d?user=%", "a %"},
        {MY "//h/d?password=%zz", "a %"},
    };

    (void)state;
    means(good, LENGTH(good));
    refused(bad, LENGTH(bad));
}

static void where_postgresql_looks(void **state)
{
    static const struct row good[] = {
        {PG "//h/d?currentSchema=a,b", "h:5432 db=d schema=a,b"},
        {PG "//h/d?currentSchema=A,%22B%22", "h:5432 db=d schema=A,\"B\""},
        {PG "//h/d?currentSchema", "h:5432 db=d schema="},
        {PG "//h/d?options=-c%20search_path=a,b", "h:5432 db=d schema=a,b"},
        {PG "//h/d?options=-csearch_path%3Da", "h:5432 db=d schema=a"},
        {PG "//h/d?options=--search-path=a,%5C%20b", "h:5432 db=d schema=a, b"},
        {PG "//h/d?options=-c search_path=a -c search_path=b",
         "h:5432 db=d schema=b"},
        {PG "//h/d?options=-c search_path=a&currentSchema=b",
         "h:5432 db=d schema=b"},
        {PG "//h/d?currentSchema=b&options=-c search_path=a",
         "h:5432 db=d schema=b"},
        {PG "//h/d?options=-c role=r -c search_path=a",
         "h:5432 db=d schema=a options=-c role=r -c search_path=a"},
        {PG "//h/d?options=-c", "h:5432 db=d"},
        {PG "//h/d?targetServerType=primary", "h:5432 db=d"},
        {PG "//h/d?targetServerType=PreferPrimary", "h:5432 db=d"},
    };
    static const struct row bad[] = {
        {PG "//h/d?targetServerType=leader", "none of any, primary"},
    };

    (void)state;
    means(good, LENGTH(good));
    refused(bad, LENGTH(bad));
}

static void tls_of_postgresql(void **state)
{
    static const struct row good[] = {
        {PG "//h/d?ssl=true", "h:5432 db=d tls=host"},
        {PG "//h/d?ssl", "h:5432 db=d tls=host"},
        {PG "//h/d?ssl=TRUE", "h:5432 db=d tls=host"},
        {PG "//h/d?ssl=false", "h:5432 db=d"},
        {PG "//h/d?ssl=yes", "h:5432 db=d"},
        {PG "//h/d?sslmode=disable&ssl=true", "h:5432 db=d tls=off"},
        {PG "//h/d?ssl=true&sslmode=require", "h:5432 db=d tls=on"},
        {PG "//h/d?sslmode=REQUIRE", "h:5432 db=d tls=on"},
        {PG "//h/d?sslmode=allow", "h:5432 db=d"},
        {PG "//h/d?sslmode=verify-ca&sslrootcert=/ca.crt",
         "h:5432 db=d tls=ca ca=/ca.crt"},
        {PG "//h/d?sslmode=verify-full&sslcert=/c&sslkey=/k&sslpassword=s",
         "h:5432 db=d tls=host cert=/c key=/k keypass=s"},
        {PG "//h/d?ssl=true&sslfactory=org.postgresql.ssl.NonValidatingFactory",
         "h:5432 db=d tls=on"},
        {PG "//h/d?ssl=true&sslfactoryarg=file:/x.crt&sslfactory="
            "org.postgresql.ssl.SingleCertValidatingFactory",
         "h:5432 db=d tls=host ca=/x.crt"},
    };
    static const struct row bad[] = {
        {PG "//h/d?sslmode=preferred", "none of disable, allow, prefer"},
        {PG "//h/d?sslmode=", "none of disable"},
    };

    (void)state;
    means(good, LENGTH(good));
    refused(bad, LENGTH(bad));
}

static void tls_of_mysql(void **state)
{
    static const struct row good[] = {
        {MY "//h/d?useSSL=true", "h:3306 db=d"},
        {MY "//h/d?useSSL=yes", "h:3306 db=d"},
        {MY "//h/d?useSSL=false", "h:3306 db=d tls=off"},
        {MY "//h/d?useSSL=true&requireSSL=true", "h:3306 db=d tls=on"},
        {MY "//h/d?requireSSL=true", "h:3306 db=d tls=on"},
        {MY "//h/d?useSSL=false&requireSSL=true", "h:3306 db=d tls=off"},
        {MY "//h/d?verifyServerCertificate=true", "h:3306 db=d tls=ca"},
        {MY "//h/d?useSSL=false&verifyServerCertificate=true",
         "h:3306 db=d tls=off"},
        {MY "//h/d?sslMode=DISABLED&useSSL=true", "h:3306 db=d tls=off"},
        {MY "//h/d?sslMode=required", "h:3306 db=d tls=on"},
        {MY "//h/d?sslMode=VERIFY_IDENTITY", "h:3306 db=d tls=host"},
        {MA "//h/d?sslMode=verify-ca", "h:3306 db=d tls=ca"},
        {MA "//h/d?SSLMODE=trust", "h:3306 db=d tls=on"},
        {MA "//h/d?useSSL=true", "h:3306 db=d tls=host"},
        {MA "//h/d?useSsl", "h:3306 db=d tls=host"},
        {MA "//h/d?useSSL=true&trustServerCertificate=true",
         "h:3306 db=d tls=on"},
        {MA "//h/d?useSsl=true&disableSslHostnameVerification=true",
         "h:3306 db=d tls=ca"},
        {MA "//h/d?serverSslCert=/x.pem", "h:3306 db=d ca=/x.pem"},
    };
    static const struct row bad[] = {
        {MY "//h/d?sslMode=verify-ca", "none of disabled, preferred"},
        {MY "//h/d?sslMode=require", "none of disabled, preferred"},
        {MY "//h/d?useSSL=0", "neither true nor false"},
        {MY "//h/d?useSSL", "neither true nor false"},
        {MA "//h/d?sslMode=PREFERRED", "none of disable"},
    };

    (void)state;
    means(good, LENGTH(good));
    refused(bad, LENGTH(bad));
}

/* pgjdbc counts seconds, the others milliseconds; 0 is no limit. */
static void patience_has_each_driver_s_unit(void **state)
{
    static const struct row good[] = {
        {PG "//h/d?connectTimeout=5&socketTimeout=30",
         "h:5432 db=d connect=5000 call=30000"},
        {PG "//h/d?loginTimeout=3&connectTimeout=5",
         "h:5432 db=d connect=3000"},
        {PG "//h/d?connectTimeout=0", "h:5432 db=d"},
        {MY "//h/d?connectTimeout=5000&socketTimeout=3000",
         "h:3306 db=d connect=5000 call=3000"},
        {MA "//h/d?connectTimeout=5", "h:3306 db=d connect=5"},
    };
    static const struct row bad[] = {
        {MY "//h/d?connectTimeout=5s", "milliseconds"},
        {PG "//h/d?socketTimeout=1.5", "seconds"},
    };

    (void)state;
    means(good, LENGTH(good));
    refused(bad, LENGTH(bad));
}

static void what_matters_and_is_not_taken_is_said(void **state)
{
    static const char *const said[][2] = {
        {PG "//h/d?sslMode=require", "sslMode: "},
        {PG "//h/d?CURRENTSCHEMA=x", "write currentSchema"},
        {PG "//h/d?gssEncMode=require", "gssEncMode: "},
        {PG "//h/d?socketFactory=x", "socketFactory: "},
        {PG "//h/d?targetServerType=secondary", "targetServerType: "},
        {PG "//h/d?readOnly=true", "readOnly: "},
        {PG "//h/d?sslkey=/k.p12", "sslkey: "},
        {PG "//h/d?sslfactory=com.example.Own", "sslfactory: "},
        {PG "//h/d?ssl=true&sslfactory=org.postgresql.ssl.NonValidatingFactory",
         "nobody looks"},
        {MY "//h/d?sslmode=required", "write sslMode"},
        {MY "//h/d?usessl=false", "write useSSL"},
        {MY "//h/d?trustCertificateKeyStoreUrl=file:/x", "registry.cert-file"},
        {MY "//h/d?sslMode=VERIFY_CA", "compares the server's name"},
        {MY "//h/d?sessionVariables=a=b", "sessionVariables: "},
        {MY "//h/d?createDatabaseIfNotExist=true", "make the database"},
        {MA "//h/d?trustStore=/x", "registry.cert-file"},
    };
    static const char *const silent[] = {
        MY "//h/d?useUnicode=true&characterEncoding=UTF-8&serverTimezone=UTC"
           "&allowPublicKeyRetrieval=true&rewriteBatchedStatements=true",
        PG "//h/d?stringtype=unspecified&prepareThreshold=0&tcpKeepAlive=true"
           "&readOnly=false&loadBalanceHosts=true&ssl=false",
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(said); i++) {
        accept(said[i][0]);
        if (strstr(buf_text(&t.notes), said[i][1]) == NULL)
            fail_msg("%s: %s", said[i][0], buf_text(&t.notes));
    }
    for (size_t i = 0; i < LENGTH(silent); i++) {
        accept(silent[i]);
        assert_string_equal(buf_text(&t.notes), "");
    }
    accept(PG
           "//h/d?sslMode=verify-full&usessl=true"); /* as Java: overlooked */
    assert_int_equal(t.tls, JDBC_TLS_PREFER);
}

/* Wherever it stands, well placed or not. */
static void a_password_is_never_shown(void **state)
{
    static const char *const urls[] = {
        MY "//u:geheim@h/d",
        MY "//u:geheim@[h1,h2]/d",
        MY "//h0,u:geheim@h1:5/d?x=y",
        MY "//(host=h,password=geheim,user=u)/d",
        MY "//address=(host=h)(password=geheim)/d",
        MY "//h/d?password=geheim&x=y",
        MY "//h/d?PASSWORD=geheim",
        MY "//h/d?pass%77ord=geheim",
        MY "//h/d?trustCertificateKeyStorePassword=geheim",
        MY "//h/d?password1=geheim",
        PG "//h/d?sslpassword=geheim",
        PG "//h/d?user=u&password=geheim",
        PG "d?password=geheim",
        MA "//h/d?keyStorePassword=geheim",
        MA "//h/d?Password=geheim",
    };
    static const char *const wrong[] = {
        PG "//u:geheim@h/d",       PG "//u:ge=heim@h/d",
        MA "//u:geheim@h/d",       MY "//u:geheim/x@h/d",
        MY "//u:geheim@x@h/d",     MY "//u:geheim?x@h/d",
        MY "//u:geheim#x@h/d",     PG "//h/d?password=geheim%",
        MY "//(password=geheim/d", MY "//u:geheim;@h:x/d",
        PG "//geheim@h:5/d",
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(urls); i++) {
        char *shown = conf_jdbc_url_masked(urls[i]);

        accept(urls[i]);
        if (strstr(shown, "geheim") != NULL || strstr(shown, "***") == NULL)
            fail_msg("%s", shown);
        mem_free(shown);
    }
    for (size_t i = 0; i < LENGTH(wrong); i++) {
        assert_int_equal(parse(wrong[i]), ERR_INVALID);
        if (strstr(problem.msg, "heim") != NULL)
            fail_msg("%s", problem.msg);
    }
}

static void what_is_no_secret_is_shown(void **state)
{
    static const struct row rows[] = {
        {MY "//h:5/d?useSSL=false&user=u&password=x",
         MY "//h:5/d?useSSL=false&user=u&password=***"},
        {MY "//h0,u:p@h1:5/d?x=y", MY "//h0,***@h1:5/d?x=y"},
        {MY "//address=(host=h)(password=p)(port=5)/d",
         MY "//address=(host=h)(password=***)(port=5)/d"},
        {PG "//[::1]:5/d?currentSchema=a,b",
         PG "//[::1]:5/d?currentSchema=a,b"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(rows); i++) {
        char *shown = conf_jdbc_url_masked(rows[i].url);

        assert_string_equal(shown, rows[i].means);
        mem_free(shown);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hosts_of_postgresql),
        TEST(hosts_of_mysql),
        TEST(a_database_is_any_name),
        TEST(who_we_are),
        TEST(where_postgresql_looks),
        TEST(tls_of_postgresql),
        TEST(tls_of_mysql),
        TEST(patience_has_each_driver_s_unit),
        TEST(what_matters_and_is_not_taken_is_said),
        TEST(a_password_is_never_shown),
        TEST(what_is_no_secret_is_shown),
    };
    int failed = cmocka_run_group_tests_name("jdbc", tests, NULL, NULL);

    conf_jdbc_url_close(&t);
    return failed;
}
