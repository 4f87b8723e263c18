/*
 * key.c - what a key is.
 *
 * The rules are those of the strictest backend, checked once before any of
 * them sees a key.
 */
#include "registry/registry.h"

#include <string.h>

static int check_segment(const char *key, const char *begin, size_t len,
                         struct err *err)
{
    assert(begin > key);
    if (len == 0) {
        return err_set(err, ERR_INVALID,
                       "key \"%.64s\": empty name between slashes or at "
                       "the end",
                       key);
    }
    if ((len == 1 && begin[0] == '.') ||
        (len == 2 && begin[0] == '.' && begin[1] == '.')) {
        return err_set(err, ERR_INVALID,
                       "key \"%.64s\": \".\" and \"..\" are no names", key);
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)begin[i];

        if (c < 0x20 || c == 0x7f) {
            return err_set(err, ERR_INVALID,
                           "key: control character 0x%02x at byte %zu", c,
                           (size_t)(begin + i - key));
        }
    }
    return 0;
}

int registry_check_key(const char *key, struct err *err)
{
    const char *begin, *end;
    size_t len;
    int rc;

    if (key == NULL || key[0] != '/') {
        return err_set(err, ERR_INVALID,
                       "key \"%.64s\": must begin with a slash",
                       key == NULL ? "" : key);
    }
    len = strnlen(key, REGISTRY_KEY_MAX + 1);
    if (len > REGISTRY_KEY_MAX) {
        return err_set(err, ERR_TOO_LARGE,
                       "key \"%.64s...\": more than %d bytes", key,
                       REGISTRY_KEY_MAX);
    }
    for (begin = key + 1;; begin = end + 1) {
        end = strchrnul(begin, '/');
        rc = check_segment(key, begin, (size_t)(end - begin), err);
        if (rc != 0 || *end == '\0')
            return rc;
    }
}

bool registry_key_below(const char *key, const char *prefix)
{
    size_t len = strlen(prefix);

    assert(prefix[0] == '/');
    if (len == 1 && prefix[0] == '/')
        return key[0] == '/' && key[1] != '\0';
    return strncmp(key, prefix, len) == 0 && key[len] == '/';
}
