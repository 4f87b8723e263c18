/*
 * curl.h - libcurl, loaded by whoever speaks HTTP as a client: etcd's backend,
 * the agent, the command line.
 */
#ifndef PELORUS_BASE_LIBRARY_CURL_H
#define PELORUS_BASE_LIBRARY_CURL_H

#include "base/library/library.h"

#define CURL_DISABLE_TYPECHECK /* its macros call the functions by name */
#include <curl/curl.h>

#define LIBCURL(X)                                                             \
    X(curl_easy_cleanup)                                                       \
    X(curl_easy_getinfo)                                                       \
    X(curl_easy_init)                                                          \
    X(curl_easy_pause)                                                         \
    X(curl_easy_perform)                                                       \
    X(curl_easy_setopt)                                                        \
    X(curl_easy_strerror)                                                      \
    X(curl_free)                                                               \
    X(curl_getdate)                                                            \
    X(curl_global_cleanup)                                                     \
    X(curl_global_init)                                                        \
    X(curl_multi_add_handle)                                                   \
    X(curl_multi_assign)                                                       \
    X(curl_multi_cleanup)                                                      \
    X(curl_multi_info_read)                                                    \
    X(curl_multi_init)                                                         \
    X(curl_multi_remove_handle)                                                \
    X(curl_multi_setopt)                                                       \
    X(curl_multi_socket_action)                                                \
    X(curl_slist_append)                                                       \
    X(curl_slist_free_all)                                                     \
    X(curl_url)                                                                \
    X(curl_url_cleanup)                                                        \
    X(curl_url_get)                                                            \
    X(curl_url_set)

struct libcurl {
    LIBCURL(LIBRARY_SLOT)
};

/* To be used after libcurl_load() has returned 0. */
extern struct libcurl libcurl;

/* library_load() of it. */
int libcurl_load(struct err *err) MUST_CHECK;

#endif
