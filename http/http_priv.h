/*
 * http_priv.h - a request, its answer, and what the resources may do with
 * them. (Private to this folder.)
 *
 * A request is answered in one of two ways. At once, on libmicrohttpd's
 * thread: the handler fills in the answer and returns. Or later: the handler
 * calls http_on_loop(), which suspends the connection and runs a function on
 * the coordinator's loop; whatever completes there fills in the answer and
 * calls http_answer(), which resumes the connection. A request is touched by
 * one thread at a time: suspending and resuming hand it over.
 */
#ifndef PELORUS_HTTP_HTTP_PRIV_H
#define PELORUS_HTTP_HTTP_PRIV_H

#include "http/http.h"

#include "base/buf.h"
#include "base/json.h"

#include <microhttpd.h>

#define HTTP_BODY_MAX    (256 * 1024)
#define HTTP_ANSWER_MAX  (64 * 1024 * 1024)
#define HTTP_PARAMS_MAX  3
#define HTTP_PARAM_MAX   160
#define HTTP_LIMIT       100 /* items of a list, unless asked otherwise */
#define HTTP_LIMIT_MAX   1000
#define HTTP_WAIT_MAX_MS 60000

struct http_request;
struct http_conn;

typedef void http_handler_f(struct http_request *r);

enum http_method { HTTP_GET, HTTP_PUT, HTTP_POST, HTTP_DELETE, HTTP_PATCH };
#define HTTP_METHODS 5

struct http_route {
    const char *path; /* "{}" stands for one segment */
    http_handler_f *handler[HTTP_METHODS]; /* NULL: 405 */
};

struct http_request {
    struct http *h;
    struct MHD_Connection *connection;
    struct http_conn *conn;
    enum http_method method;
    bool head;
    http_handler_f *handler;
    char param[HTTP_PARAMS_MAX][HTTP_PARAM_MAX + 1]; /* of the path */
    struct buf body;
    cJSON *json;      /* the body, once http_body() has read it */
    enum gate_order_what order;
    uint64_t epoch;
    bool handed;      /* to the loop; written before it is, never after */

    /* the answer */
    unsigned status;
    struct buf out;
    const char *content_type; /* static */
    char location[192];       /* "" none */
    char etag[40];
    char index[40];
    int64_t retry_after_ms;   /* 0 none */
    unsigned allow;           /* bit per method, for 405 */
    bool close;

    /* while the loop has it */
    loop_f *on_loop;
    struct coordinator_wait *wait;
    struct http_request *next, *prev; /* of those the loop has */
};

struct http {
    const struct conf *conf;
    struct loop *loop;
    struct coordinator *coordinator;
    struct balancer *balancer;
    struct MHD_Daemon *daemon;
    struct http_guard *guard;
    uint16_t port;
    int listen_fd;
    /* loop thread */
    struct http_request *on_loop;
    struct loop_timer *timer;
    int64_t stop_by, reaped;
    void (*stopped)(void *arg);
    void *stopped_arg;
    /* any thread, atomics */
    int in_flight;     /* requests begun and not completed */
    int stopping;
    uint64_t requests;
};

/* --- answering (answer.c) ---------------------------------------------------- */

/* An RFC 9457 problem; `code` is one of the table in answer.c. `fmt` is the
 * detail for people; NULL: the code's own title says it all. */
void http_problem(struct http_request *r, const char *code, const char *fmt,
                  ...) PRINTF_LIKE(3, 4);
/* The same, left open for members of its own: end with json_close(). */
void http_problem_open(struct http_request *r, const char *code,
                       const char *detail);
/* A problem from an operation's code, with its error as the detail. */
void http_refuse(struct http_request *r, const char *code,
                 const struct err *err, int64_t retry_after_ms);

/* JSON with this status: empties the answer and returns where to write. */
struct buf *http_json(struct http_request *r, unsigned status);
/* The same for a list: {"items":[ is open; end it with http_list_end(). */
struct buf *http_list(struct http_request *r, const struct snapshot *s);
void http_list_end(struct http_request *r, const char *next);

/* "as_of" and "stale" of an answer about the cluster. */
void http_put_as_of(struct buf *b, const struct snapshot *s);
void http_put_time(struct buf *b, const char *key, wall_ms at); /* 0: null */
void http_put_process(struct buf *b, const char *key, const struct process *p);

/* The opaque index "instance-number" in body and header. */
void http_put_index(struct http_request *r, struct buf *b, uint64_t index);
/* Is it of this run of this coordinator? Then its number in *out. */
bool http_read_index(const struct http_request *r, const char *text,
                     uint64_t *out);

/* --- asking (query.c) ----------------------------------------------------------- */

/* A parameter of the query, NULL if absent. Borrowed from the connection. */
const char *http_query(const struct http_request *r, const char *name);
bool http_flag(const struct http_request *r, const char *name);

/* Each answers with a problem and returns false if the value is no good. */
bool http_query_int(struct http_request *r, const char *name, int64_t min,
                    int64_t max, int64_t *value);
bool http_query_duration(struct http_request *r, const char *name, int64_t min,
                         int64_t max, int64_t *value);
/* kind: -1 when absent. */
bool http_query_kind(struct http_request *r, int *kind);
bool http_param_kind(struct http_request *r, unsigned i, enum node_kind *kind);
bool http_param_address(struct http_request *r, unsigned i);
bool http_query_epoch(struct http_request *r, uint64_t *epoch);
/* The body as a JSON object in r->json; an empty one if `may_be_empty`. */
bool http_body(struct http_request *r, bool may_be_empty);
/* A string member: false and a problem if it is there and no string. */
bool http_member(struct http_request *r, const char *name, const char **value);

/* --- handing over (server.c) ------------------------------------------------------ */

/* Suspend, and run fn(r) on the loop. */
void http_on_loop(struct http_request *r, loop_f *fn);

/* Loop thread: the answer is complete; send it. */
void http_answer(struct http_request *r);

/*
 * Long poll: on the loop, run `then` when the index is not the one in the
 * query any more, or `wait` is over, or at once if neither was given. Answers
 * with a problem itself if there are too many.
 */
void http_wait(struct http_request *r, enum coordinator_topic topic,
               enum node_kind kind, const char *address, loop_f *then);
/* Does the query ask to wait for a change (index= and wait=)? */
bool http_waits(const struct http_request *r);

/* --- routes ------------------------------------------------------------------------- */

/* The route of a path with its parameters, or NULL. */
const struct http_route *http_route_find(const char *path,
                                         char param[][HTTP_PARAM_MAX + 1]);

http_handler_f http_best_get, http_pick_done, http_pick_refused;
http_handler_f http_nodes_list, http_node_get, http_node_put, http_node_delete;
http_handler_f http_cordon, http_drain, http_restart; /* PUT and DELETE */
http_handler_f http_groups_list, http_group_get, http_group_put,
    http_group_delete;
http_handler_f http_work_list, http_work_post, http_work_get, http_work_put,
    http_work_delete, http_work_handover, http_work_release, http_fence_check;
http_handler_f http_failovers_list, http_failover_get, http_failovers_post;
http_handler_f http_settings_get, http_settings_patch, http_cluster_get;
http_handler_f http_livez, http_readyz, http_openapi, http_root;

/* --- connections being watched (guard.c) ----------------------------------------------- */

/* Is the request's head acceptable? If not, a problem is filled in. */
bool http_guard_head(struct http_request *r);

struct http_guard *http_guard_new(void);
void http_guard_free(struct http_guard **g);
struct http_conn *http_guard_add(struct http_guard *g, int fd);
void http_guard_remove(struct http_guard *g, struct http_conn *conn);
/* What a connection is doing now, for its deadline. */
enum http_phase {
    HTTP_PHASE_HEAD,   /* waiting for a request's head */
    HTTP_PHASE_BODY,   /* reading its body */
    HTTP_PHASE_ANSWER, /* ours to be quick; no deadline */
};
void http_guard_phase(struct http_guard *g, struct http_conn *conn,
                      enum http_phase phase);
/* Shut down those that are late. Loop thread, about once a second. */
void http_guard_reap(struct http_guard *g);

#endif
