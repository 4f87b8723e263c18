/*
 * urls.c - a list of coordinators, of which one is in use.
 */
#include "conf/urls.h"

#include "base/mem.h"

#include <curl/curl.h>
#include <string.h>

/* The part of it that a request's path is put behind, and nothing else. */
static bool is_base(const char *url)
{
    CURLU *u = curl_url();
    char *part = NULL;
    bool good;

    assert(u != NULL);
    good = curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
           curl_url_get(u, CURLUPART_QUERY, &part, 0) == CURLUE_NO_QUERY &&
           curl_url_get(u, CURLUPART_FRAGMENT, &part, 0) == CURLUE_NO_FRAGMENT;
    curl_free(part);
    curl_url_cleanup(u);
    return good;
}

static int add(struct urls *u, const char *from, size_t len, struct err *err)
{
    while (len > 0 && strchr(" \t", *from) != NULL) {
        from++;
        len--;
    }
    while (len > 0 && strchr(" \t", from[len - 1]) != NULL)
        len--;
    if ((strncmp(from, "http://", 7) != 0 || len < 8) &&
        (strncmp(from, "https://", 8) != 0 || len < 9))
        return (int)err_set(
            err, ERR_INVALID,
            "%.*s: no coordinator's URL, which begins with http:// "
            "or https://; several stand with commas between "
            "them",
            len == 0 ? 9 : (int)len, len == 0 ? "(nothing)" : from);
    while (from[len - 1] == '/')
        len--;
    if (u->n == URLS_MAX)
        return (int)err_set(err, ERR_INVALID, "at most %d URLs", URLS_MAX);
    u->list[u->n++] = mem_strndup(from, len);
    if (!is_base(u->list[u->n - 1]))
        return (int)err_set(err, ERR_INVALID,
                            "%.*s: not a URL like http://host:7077; an IPv6 "
                            "host stands in brackets",
                            (int)len, from);
    return 0;
}

int conf_urls_parse(struct urls *out, const char *text, struct err *err)
{
    int rc;

    assert(text != NULL);
    memset(out, 0, sizeof(*out));
    for (;;) {
        size_t len = strcspn(text, ",");

        rc = add(out, text, len, err);
        if (rc != 0 || text[len] == '\0')
            return rc;
        text += len + 1;
    }
}

void conf_urls_close(struct urls *u)
{
    for (size_t i = 0; i < u->n; i++)
        mem_free(u->list[i]);
    u->n = 0;
}

const char *conf_urls_current(const struct urls *u)
{
    assert(u->at < u->n);
    return u->list[u->at];
}

bool conf_urls_next(struct urls *u, size_t first)
{
    u->at = (u->at + 1) % u->n;
    return u->at != first;
}
