/*
 * urls.c - a list of coordinators, of which one is in use.
 */
#include "conf/urls.h"

#include "base/library/curl.h"
#include "base/mem.h"
#include "conf/text.h"

#include <string.h>

/* The part of it that a request's path is put behind, and nothing else. */
static bool is_base(const char *url)
{
    CURLU *u = libcurl.curl_url();
    char *part = NULL;
    bool good;

    assert(u != NULL);
    good =
        libcurl.curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
        libcurl.curl_url_get(u, CURLUPART_QUERY, &part, 0) == CURLUE_NO_QUERY &&
        libcurl.curl_url_get(u, CURLUPART_FRAGMENT, &part, 0) ==
            CURLUE_NO_FRAGMENT;
    libcurl.curl_free(part);
    libcurl.curl_url_cleanup(u);
    return good;
}

/* Takes `url`. */
static int add(struct urls *u, char *url, struct err *err)
{
    size_t len = strlen(url), scheme = strncmp(url, "http://", 7) == 0    ? 7
                                       : strncmp(url, "https://", 8) == 0 ? 8
                                                                          : 0;

    assert(u->n < URLS_MAX);
    u->list[u->n++] = url;
    if (scheme == 0 || len == scheme) {
        return err_set(err, ERR_INVALID,
                       "%s: no coordinator's URL, which begins with http:// or "
                       "https://; several stand with commas between them",
                       len == 0 ? "(nothing)" : url);
    }
    while (url[len - 1] == '/')
        url[--len] = '\0';
    if (!is_base(url)) {
        return err_set(err, ERR_INVALID,
                       "%s: not a URL like http://host:7077; an IPv6 host "
                       "stands in brackets",
                       url);
    }
    return 0;
}

int conf_urls_parse(struct urls *out, const char *text, struct err *err)
{
    int rc = libcurl_load(err);

    assert(text != NULL);
    memset(out, 0, sizeof(*out));
    if (rc != 0)
        return rc;
    for (;;) {
        size_t len = strcspn(text, ",");

        if (out->n == URLS_MAX)
            return err_set(err, ERR_INVALID, "at most %d URLs", URLS_MAX);
        rc = add(out, conf_text_trimmed(text, len), err);
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
    assert(first < u->n);
    assert(u->n > 0);
    u->at = (u->at + 1) % u->n;
    return u->at != first;
}
