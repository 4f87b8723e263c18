/*
 * http.c - one request of the command line, through libcurl.
 *
 * The token comes from PELORUS_TOKEN and never from the command line, where
 * every user of the host could read it.
 */
#include "cli/cli_priv.h"

#include "base/json/json.h"
#include "base/library/curl.h"
#include "base/mem.h"
#include "conf/urls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define ANSWER_MAX ((size_t)64 * 1024 * 1024)
#define ANSWER_S   75L /* a long poll takes up to 60 */

void cli_init(struct cli *c)
{
    const char *url = getenv("PELORUS_URL");

    memset(c, 0, sizeof(*c));
    c->now = clock_wall_ms();
    c->url = url != NULL && url[0] != '\0' ? url : "http://127.0.0.1:7077";
    buf_init(&c->path, 8192);
    buf_init(&c->body, 1024 * 1024);
    buf_init(&c->answer, ANSWER_MAX);
}

void cli_close(struct cli *c)
{
    json_free(c->document);
    buf_close(&c->path);
    buf_close(&c->body);
    buf_close(&c->answer);
}

const char *cli_who(struct cli *c, const char *given)
{
    const char *user = getenv("USER");
    char host[128] = "?";

    if (given != NULL)
        return given;
    if (gethostname(host, sizeof(host)) == 0)
        host[sizeof(host) - 1] = '\0';
    if (user == NULL || user[0] == '\0')
        snprintf(c->who, sizeof(c->who), "uid-%u@%s", (unsigned)getuid(), host);
    else
        snprintf(c->who, sizeof(c->who), "%.100s@%s", user, host);
    return c->who;
}

static void add_escaped(struct buf *b, const char *text)
{
    assert(text != NULL);
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                   "0123456789-._~:[]",
                   *p) != NULL)
            buf_char(b, (char)*p);
        else
            buf_printf(b, "%%%02X", *p);
}

void cli_segment(struct cli *c, const char *text)
{
    assert(text[0] != '\0');
    assert(c->path.len > 0);
    add_escaped(&c->path, text);
}

void cli_query(struct cli *c, const char *name, const char *value)
{
    assert(name[0] != '\0');
    assert(c->path.len > 0);
    if (value == NULL)
        return;
    buf_char(&c->path, strchr(buf_text(&c->path), '?') == NULL ? '?' : '&');
    buf_printf(&c->path, "%s=", name);
    add_escaped(&c->path, value);
}

void cli_member(struct cli *c, const char *name, const char *value)
{
    assert(c->body.len > 0);
    if (value != NULL)
        json_put_str(&c->body, name, value);
}

void cli_order(struct cli *c, const struct cli_args *w)
{
    assert(c->body.len > 0);
    json_put_str(&c->body, "who", cli_who(c, w->who));
    cli_member(c, "reason", w->reason);
    json_close(&c->body, '}');
}

static size_t receive(char *data, size_t size, size_t n, void *arg)
{
    struct cli *c = arg;

    assert(c->status == 0);
    buf_add(&c->answer, data, size * n);
    return c->answer.overflow ? 0 : size * n;
}

/* The clock of who answers: ages are told by it, not by ours. */
static size_t read_head(char *line, size_t size, size_t n, void *arg)
{
    static const char name[] = "Date:";
    struct cli *c = arg;

    if (size * n > sizeof(name) - 1 &&
        strncasecmp(line, name, sizeof(name) - 1) == 0) {
        char *date =
            mem_strndup(line + sizeof(name) - 1, size * n - (sizeof(name) - 1));
        time_t at = libcurl.curl_getdate(date, NULL);

        if (at > 0) /* the end of that second: what was is then in the past */
            c->now = (wall_ms)at * 1000 + 999;
        mem_free(date);
    }
    return size * n;
}

/* Nothing if the value is none. */
static struct curl_slist *add_header(struct curl_slist *list, const char *name,
                                     const char *value)
{
    struct curl_slist *longer = list;
    char *line = mem_printf("%s%s", name, value != NULL ? value : "");

    assert(name[0] != '\0');
    if (value != NULL && value[0] != '\0')
        longer = libcurl.curl_slist_append(list, line);
    mem_free(line);
    return longer;
}

static struct curl_slist *headers(const struct cli *c)
{
    const char *type = c->body.len > 0 ? "application/json" : NULL;
    struct curl_slist *list = add_header(NULL, "Content-Type: ", type);

    list = add_header(list, "If-Match: ", c->etag);
    return add_header(list, "Authorization: Bearer ", getenv("PELORUS_TOKEN"));
}

/* What a problem document says, or the bare status. */
static void say_refused(const struct cli *c, const char *method)
{
    const char *title = json_str(c->document, "title");
    const char *detail = json_str(c->document, "detail");
    const char *code = json_str(c->document, "code");
    struct buf line;

    assert(c->status < 200 || c->status >= 300);
    buf_init(&line, 16 * 1024);
    if (code == NULL)
        buf_printf(&line,
                   "%s %s%s: HTTP status %ld, and no reason that a coordinator "
                   "gives; is it one? (--url or PELORUS_URL names another)",
                   method, c->answerer, buf_text(&c->path), c->status);
    else
        buf_printf(&line, "%s (%s, HTTP %ld)",
                   detail != NULL  ? detail
                   : title != NULL ? title
                                   : code,
                   code, c->status);
    fputs("pelorus: ", stderr);
    cli_say(stderr, buf_text(&line));
    buf_close(&line);
}

static void set_options(struct cli *c, CURL *curl, const char *method,
                        const char *url, struct curl_slist *list)
{
    assert(url[0] != '\0');
    assert(list == NULL || list->data != NULL);
    libcurl.curl_easy_setopt(curl, CURLOPT_URL, url);
    libcurl.curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    libcurl.curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
    libcurl.curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
    libcurl.curl_easy_setopt(curl, CURLOPT_WRITEDATA, c);
    libcurl.curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, read_head);
    libcurl.curl_easy_setopt(curl, CURLOPT_HEADERDATA, c);
    libcurl.curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 5L);
    libcurl.curl_easy_setopt(curl, CURLOPT_TIMEOUT, ANSWER_S);
    libcurl.curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    libcurl.curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    if (c->body.len > 0) {
        libcurl.curl_easy_setopt(curl, CURLOPT_POSTFIELDS, c->body.data);
        libcurl.curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
                                 (curl_off_t)c->body.len);
    }
}

/* One coordinator. Nonzero: no answer; *sent: it may have been carried out. */
static int ask(struct cli *c, const char *method, const char *base, bool *sent)
{
    char *url = mem_printf("%s%s", base, buf_text(&c->path));
    struct curl_slist *list = headers(c);
    char reason[CURL_ERROR_SIZE] = "";
    CURL *curl = libcurl.curl_easy_init();
    CURLcode rc;

    assert(c->path.len > 0);
    assert(!c->path.overflow);
    assert(curl != NULL);
    buf_reset(&c->answer);
    c->status = 0;
    set_options(c, curl, method, url, list);
    libcurl.curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
    rc = libcurl.curl_easy_perform(curl);
    libcurl.curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &c->status);
    *sent = rc != CURLE_COULDNT_CONNECT && rc != CURLE_COULDNT_RESOLVE_HOST;
    if (rc != CURLE_OK)
        fprintf(stderr, "pelorus: no answer from %s: %s\n", base,
                reason[0] ? reason : libcurl.curl_easy_strerror(rc));
    libcurl.curl_slist_free_all(list);
    libcurl.curl_easy_cleanup(curl);
    mem_free(url);
    return rc == CURLE_OK ? 0 : 1;
}

/* None of those that were asked answered; each was named. */
static void say_unreachable(bool maybe_done, size_t tried, size_t urls)
{
    assert(tried > 0);
    assert(tried <= urls);
    if (maybe_done)
        fputs("pelorus: it may have been carried out all the same: look before "
              "you say it again\n",
              stderr);
    if (tried < urls)
        fputs("pelorus: the other coordinators were not asked for that\n",
              stderr);
    fputs("pelorus: is `pelorus serve` running there? (--url or PELORUS_URL "
          "names others, separated by commas)\n",
          stderr);
}

/* 503 is: not carried out, and perhaps another can. If then nobody answers, it
 * is the answer. */
static int ask_in_turn(struct cli *c, const char *method, struct urls *urls)
{
    bool reads = strcmp(method, "GET") == 0, sent = false, more = true;
    struct buf refused;
    long status = 0;
    size_t tried = 0;
    int rc = 1;

    assert(urls->n > 0);
    buf_init(&refused, ANSWER_MAX);
    while (more) {
        snprintf(c->answerer, sizeof(c->answerer), "%s",
                 conf_urls_current(urls));
        rc = ask(c, method, conf_urls_current(urls), &sent);
        tried++;
        if (rc == 0 && c->status != 503)
            break;
        if (rc == 0) {
            status = c->status;
            buf_reset(&refused);
            buf_add(&refused, c->answer.data, c->answer.len);
        }
        more = (rc == 0 || reads || !sent) && conf_urls_next(urls, 0);
    }
    if (rc != 0 && status != 0 && (reads || !sent)) {
        c->status = status;
        buf_reset(&c->answer);
        buf_add(&c->answer, refused.data, refused.len);
        rc = 0;
    }
    if (rc != 0) {
        c->status = 0;
        say_unreachable(sent && !reads, tried, urls->n);
    }
    buf_close(&refused);
    return rc;
}

static int refusal(const struct cli *c)
{
    const char *code = json_str(c->document, "code");

    assert(c->status < 200 || c->status >= 300);
    if (code == NULL)
        return CLI_UNREACHABLE; /* whoever that was: no coordinator */
    if (c->status == 404)
        return CLI_NOT_FOUND;
    /* what it was asked is malformed, or makes no sense */
    return c->status == 400 || c->status == 422 ? CLI_USAGE_EXIT : CLI_REFUSED;
}

static int judge(struct cli *c, const char *method)
{
    json_free(c->document);
    c->document = NULL;
    if (c->answer.len > 0)
        (void)!json_parse(c->answer.data, c->answer.len, &c->document, NULL);
    if (c->status < 200 || c->status >= 300) {
        say_refused(c, method);
        if (c->json && c->document != NULL)
            printf("%s\n", buf_text(&c->answer));
        return refusal(c);
    }
    if (c->answer.len > 0 && c->document == NULL) {
        fprintf(stderr,
                "pelorus: what %s answers is no JSON; is it a coordinator?\n",
                c->answerer);
        return CLI_UNREACHABLE;
    }
    return 0;
}

bool cli_check_url(const struct cli *c)
{
    struct urls urls;
    struct err err;
    bool good = conf_urls_parse(&urls, c->url, &err) == 0;

    assert(c->url != NULL);
    if (!good)
        fprintf(stderr, "pelorus: --url or PELORUS_URL: %s\n", err.msg);
    conf_urls_close(&urls);
    return good;
}

int cli_send(struct cli *c, const char *method)
{
    struct urls urls;
    struct err err;
    int rc;

    assert(c->path.len > 0);
    if (c->path.overflow || c->body.overflow) {
        fprintf(stderr, "pelorus: that is more than a request can hold\n");
        return CLI_USAGE_EXIT;
    }
    rc = conf_urls_parse(&urls, c->url, &err);
    assert(rc == 0); /* cli_check_url() */
    rc = ask_in_turn(c, method, &urls);
    conf_urls_close(&urls);
    return rc != 0 ? CLI_UNREACHABLE : judge(c, method);
}
