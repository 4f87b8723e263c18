/*
 * http_priv.h - a request, its answer, and what the resources may do with
 * them. (Private to this folder.)
 *
 * A request is answered in one of two ways. At once, on libmicrohttpd's
 * thread: the handler fills in the answer and returns. Or later: the handler
 * calls http_on_loop(), which suspends the connection and runs a function on
 * the coordinator's loop; whatever completes there begins with http_ended(),
 * fills in the answer and calls http_answer(), which resumes the connection.
 * A request is touched by one thread at a time: suspending and resuming hand
 * it over.
 *
 * listen.c has the sockets; server.c starts and stops the daemons on them;
 * request.c is what libmicrohttpd calls and what it is answered; thread.c has
 * each thread's counts and the answers to be given again; wrote.c shows writes;
 * handover.c is the way to the loop and back, with the long polls; conns.c
 * watches connections, head.c judges requests' heads; routes.c is the table of
 * routes and methods; answer.c writes, query.c reads; metrics.c is for
 * Prometheus; the rest is one file per resource.
 */
#ifndef PELORUS_HTTP_HTTP_PRIV_H
#define PELORUS_HTTP_HTTP_PRIV_H

#include "http/http.h"

#include "base/buf.h"
#include "base/json/json.h"

#include <microhttpd.h>

#define HTTP_BODY_MAX ((size_t)256 * 1024)
/* Read on so far, so that who sends first and reads then is told so. */
#define HTTP_BODY_DRAIN   ((size_t)16 * 1024 * 1024)
#define HTTP_URI_MAX      8192
#define HTTP_HEAD_MAX     ((size_t)16 * 1024)
#define HTTP_MEMORY       ((size_t)32 * 1024) /* a connection's own */
#define HTTP_ANSWER_MAX   ((size_t)64 * 1024 * 1024)
#define HTTP_PARAMS_MAX   3
#define HTTP_PARAM_MAX    NODE_ADDRESS_MAX
#define HTTP_STATUS_FIRST 200
#define HTTP_STATUS_END   600
#define HTTP_LIMIT        100 /* items of a list, unless asked otherwise */
#define HTTP_LIMIT_MAX    1000
#define HTTP_WAIT_MAX_MS  60000

struct http_request;
struct http_conn;
struct http_conns;
struct http_thread;
struct http_kept;

typedef void http_handler_f(struct http_request *r);

enum http_method { HTTP_GET, HTTP_PUT, HTTP_POST, HTTP_DELETE, HTTP_PATCH };
#define HTTP_METHODS      5
#define HTTP_METHODS_SIZE 64 /* the names of all */
extern const char *const http_method_names[HTTP_METHODS];

/* What answers a method of a route: `handler` on libmicrohttpd's thread; or, if
 * that is NULL, `on_loop`, to which it is handed over. A handler that first
 * reads what needs no loop may have both. Both NULL: 405. */
struct http_action {
    http_handler_f *handler, *on_loop;
    /* of its body, with blanks between: no other is taken; NULL: it takes no
     * body; "": it reads the body itself */
    const char *members;
    const char *query; /* names of parameters, likewise; NULL: any */
};

struct http_route {
    /* "{kind}", "{address}", "{id}", "{group}" and "{pick}" are one segment
     * each; all but the last are good when the action is called */
    const char *path;
    struct http_action method[HTTP_METHODS];
};

struct http_request {
    struct http *h;
    struct MHD_Connection *connection;
    struct http_conn *conn;
    struct http_thread *thread; /* that has the connection */
    struct http_kept *kept;     /* what is sent, if it is to be sent again */
    mono_ms now; /* when the last was read of it; or the loop gave it back */
    int refs;    /* atomic: libmicrohttpd's, and the loop's if handed */
    bool begun;  /* its head was complete; counted as in flight */
    enum http_method method;
    bool head;          /* HEAD: as GET, without counting and without a body */
    bool bodiless;      /* GET, HEAD: a body would be a mistake */
    bool asks;          /* its line has a query */
    bool has_body;      /* one follows its head, be it empty */
    enum problem fault; /* of its line; NONE: it is fine */
    const struct http_route *route;   /* NULL: OPTIONS, or none */
    const struct http_action *action; /* NULL: a problem is filled in */
    unsigned n_params;                /* of the route's path */
    size_t drained;          /* bytes of the body dropped beyond the maximum */
    const struct json *json; /* the body, once http_body() has read it */
    /* what a handler has read of it for its function on the loop */
    enum node_kind kind;
    enum coordinator_topic topic;
    uint64_t epoch;
    int64_t ttl_ms; /* or how long an order stands */
    int64_t limit;
    bool handed; /* to the loop; written before it is, never after */

    /* the answer */
    unsigned status;
    const char *content_type; /* static; NULL: none */
    int64_t retry_after_ms;   /* 0 none */
    unsigned allow;           /* bit per method: Allow; 0 none */
    bool close;
    bool invisible; /* a write that GET does not show yet */

    /* while the loop has it */
    http_handler_f *on_loop;
    struct coordinator_wait *wait;
    bool refused;    /* answered already; its operation goes on */
    bool *passed_on; /* wrote.c: its handler is called on the loop, and has
                        called http_on_loop() again */
    struct http_request *next, *prev; /* of those the loop has */

    /* from here on not cleared when the memory is used again */
    struct buf body, out;
    char location[192], etag[40];       /* headers; "" none */
    char index[WRITE_INDEX_SIZE];       /* likewise */
    char address[NODE_ADDRESS_MAX + 1]; /* of the query, in one spelling */
    char param[HTTP_PARAMS_MAX][HTTP_PARAM_MAX + 1]; /* of the path */
};

struct http {
    const struct conf_http *conf;
    struct loop *loop;
    struct coordinator *coordinator;
    struct balancer *balancer;
    const struct journal *journal;               /* or NULL */
    struct facts *facts;                         /* or NULL */
    struct MHD_Daemon *daemons[HTTP_LISTEN_MAX]; /* one for each socket */
    struct http_conns *conns;
    struct http_listener listener;
    /* loop thread */
    struct http_request *on_loop; /* those that wait for the loop */
    struct loop_timer *timer;
    int64_t stop_by, looked;
    void (*stopped)(void *arg);
    void *stopped_arg;
    /* any thread, atomics */
    struct http_thread *threads; /* of libmicrohttpd, once they served */
    int suspended;               /* requests that are with the loop */
    int stopping;                /* every answer closes its connection */
    int closed;                  /* nothing is handed to the loop any more */
};

/* --- answering (answer.c) ------------------------------------------------ */

/* An RFC 9457 problem, not NONE, with its status. `fmt` is the detail for
 * people; NULL: the problem's own title says it all. False, for who reads. */
bool http_problem(struct http_request *r, enum problem code, const char *fmt,
                  ...) PRINTF_LIKE(3, 4);
/* The same, left open for members of its own: end with json_close(). */
void http_problem_open(struct http_request *r, enum problem code,
                       const char *detail);
/* Why an operation was refused, its error's message being the detail; where
 * that says only that the registry cannot be had, why, if it is known. The
 * first is left open as above. Loop thread. */
void http_refuse_open(struct http_request *r, enum problem code,
                      const char *msg);
void http_refuse(struct http_request *r, enum problem code,
                 const struct err *err, int64_t retry_after_ms);

/* What most answers are. */
extern const char http_type_json[];

/* 204, without a body. */
void http_no_content(struct http_request *r);
/* JSON with this status: empties the answer and returns where to write. */
struct buf *http_json(struct http_request *r, unsigned status);
/* The same with an object open: end it with json_close(). */
struct buf *http_object(struct http_request *r, unsigned status);
/* The same for a list: {"items":[ is open; end it with http_list_end(). Without
 * a snapshot it is as of now. */
struct buf *http_list(struct http_request *r, const struct snapshot *s);
void http_list_end(struct http_request *r, const char *next);
/* The second half of it, for a list with members behind its items. */
void http_list_close(struct http_request *r, const char *next);

/* "as_of" and "stale" of an answer about the cluster. */
/* Out of date: the registry does not tell, or our own loop does not turn. */
#define HTTP_LOOP_LATE_MS  2000 /* snapshots come every second */
#define HTTP_LOOP_STUCK_MS 5000
bool http_stale(const struct http *h, const struct snapshot *s);
void http_put_as_of(const struct http *h, struct buf *b,
                    const struct snapshot *s);
void http_put_as_of_now(const struct http_request *r, struct buf *b);
/* Members that are null if there is nothing: 0, "" or NULL. */
void http_put_time(struct buf *b, const char *key, wall_ms at);
void http_put_u64(struct buf *b, const char *key, uint64_t value);
void http_put_text(struct buf *b, const char *key, const char *text);
/* An object: opened, or null, and false. */
bool http_put_object(struct buf *b, const char *key, bool there);
/* Whose lock is waited for (NULL: none is; "": nobody says whose), since. */
void http_put_waits(struct buf *b, const char *holder, wall_ms since);
void http_put_list(struct buf *b, const char *key, const char *const *texts,
                   size_t n);
void http_put_process(struct buf *b, const char *key, const struct process *p);

/* The opaque index "instance-number" in body and header. */
void http_put_index(struct http_request *r, struct buf *b, uint64_t index);
/* The same for another resource's long poll, in the body only. */
void http_put_work_index(struct http_request *r, struct buf *b, uint64_t index);
/* Is it of this run of this coordinator? Then its number in *out. */
bool http_read_index(const struct http_request *r, const char *text,
                     uint64_t *out);

/* --- asking (query.c) ---------------------------------------------------- */

/* A parameter of the query, NULL if absent. Borrowed from the connection. */
const char *http_query(const struct http_request *r, const char *name);

/* Each answers with a problem and returns false if the value is no good. */
/* The query as a whole: none but the route's, and no parameter twice, except
 * those that are lists. */
bool http_query_sound(struct http_request *r);
/* 1, or nothing behind the name: true; 0; absent: false. */
bool http_query_flag(struct http_request *r, const char *name, bool *value);
#define HTTP_BAD_CURSOR "query parameter cursor: give `next` of the page before"
/* The name of a group, cleaned; "" when absent. A name that is empty, as of a
 * variable that was not set, is none. */
bool http_query_group(struct http_request *r, char clean[NODE_GROUP_MAX + 1]);
bool http_query_int(struct http_request *r, const char *name, int64_t min,
                    int64_t max, int64_t *value);
bool http_query_duration(struct http_request *r, const char *name, int64_t min,
                         int64_t max, int64_t *value);
/* A word of an enumeration from 0 to `last`, by its name in capitals or not;
 * -1 when absent. */
bool http_query_word(struct http_request *r, const char *name, int last,
                     const char *(*name_of)(int value), int *out);
/* An instance, as node_check_instance() wants it; NULL when absent. */
bool http_query_instance(struct http_request *r, const char **instance);
/* kind: -1 when absent. */
bool http_query_kind(struct http_request *r, int *kind);
/* The parameters of its path, by what the route calls them: r->kind, and in
 * r->param an address and a group in one spelling. */
bool http_params(struct http_request *r);
/* An address that a client names, refused by `code` where it is none: as
 * node_ask_address() wants it, or as a node that is known writes its own. */
bool http_address(struct http_request *r, enum problem code,
                  const char *address);
bool http_query_epoch(struct http_request *r, uint64_t *epoch);
/* Where a route takes no body: is there none, or {}, which says nothing? */
bool http_body_none(struct http_request *r);
/* The body as a JSON object in r->json, each key once; an empty one if
 * `may_be_empty`. */
bool http_body(struct http_request *r, bool may_be_empty);
/* Are all members of the body among these, with blanks between? A misspelt one
 * would do something else than was meant. */
bool http_members(struct http_request *r, const char *known);
bool http_member_bool(struct http_request *r, const char *name, bool *value);
/* The member "epoch": expected, from 1, never rounded. */
bool http_member_epoch(struct http_request *r, uint64_t *epoch);
/* A string member: false and a problem if it is there and no string; null is
 * none. */
bool http_member(struct http_request *r, const char *name, const char **value);

/* --- handing over (handover.c) ------------------------------------------- */

/* Suspend, and run fn(r) on the loop. */
void http_on_loop(struct http_request *r, http_handler_f *fn);

/* Loop thread: an operation made for this request completed. NULL: it was
 * refused meanwhile because we leave; there is nothing left to do. */
struct http_request *http_ended(void *arg);

/* Loop thread: the answer is complete; send it. */
void http_answer(struct http_request *r);

/*
 * Long poll: on the loop, run `then` when the index is not the one in the
 * query any more, or `wait` is over, or at once if neither was given. Answers
 * with a problem itself if there are too many.
 */
void http_wait(struct http_request *r, enum coordinator_topic topic,
               enum node_kind kind, const char *address, http_handler_f *then);
/* Does the query ask to wait for a change (index= and wait=)? */
bool http_query_waits(struct http_request *r, bool *waits);
/* How long, at most HTTP_WAIT_MAX_MS; what is not said stays as it is. False:
 * it is no duration, and that is answered. */
bool http_query_wait(struct http_request *r, int64_t *wait_ms);

/* Loop thread: end long polls now; all of them, or those whose clients hung
 * up. Refuse whatever else the loop has. */
void http_end_waits(struct http *h);
void http_end_gone(struct http *h);
void http_refuse_all(struct http *h);

/* --- writes (wrote.c) ---------------------------------------------------- */

/* Loop thread: the answer to a write is complete but for its index. It is sent
 * when the next GET here shows the write, or a second later. */
void http_answer_write(struct http_request *r, const struct write_index *write);
/* Does a GET ask for a write by its index? Then its handler is called when that
 * is shown, or it is answered. */
bool http_settles(struct http_request *r);

/* --- requests (request.c) ------------------------------------------------ */

enum MHD_Result http_serve(void *arg, struct MHD_Connection *connection,
                           const char *path, const char *method,
                           const char *version, const char *data, size_t *size,
                           void **slot);
void *http_line(void *arg, const char *uri, struct MHD_Connection *connection);
void http_completed(void *arg, struct MHD_Connection *connection, void **slot,
                    enum MHD_RequestTerminationCode why);
/* Its action: what it reads is looked at first. It is answered, or handed to
 * the loop. */
void http_act(struct http_request *r);
/* Drop a reference; the last one frees. */
void http_release(struct http_request *r);
/* The headers that every answer with a body has. NULL: of no type. */
void http_plain_headers(struct MHD_Response *response, const char *type);

/* --- threads of the library (thread.c) ----------------------------------- */

/* The calling one's: a thread of a daemon of `h`. */
struct http_thread *http_thread(struct http *h);
/* All of them, when their threads have ended. */
void http_threads_free(struct http *h);

/* By the thread itself. */
void http_count_in_flight(struct http_thread *t, int step);
void http_count_answer(struct http_thread *t, unsigned status);
/* Requests begun and not completed, answers of a status. Any thread. */
int http_in_flight(const struct http *h);
uint64_t http_answered(const struct http *h, unsigned status);

/* A snapshot's time as text, until the next call. The thread itself. */
const char *http_as_of_text(struct http_thread *t, wall_ms as_of);

/* The memory of the request that ended last, for the next one, with what was
 * in it; NULL if there is none. */
struct http_request *http_take_spare(struct http_thread *t);
/* False: there are enough. Else it is the thread's. */
bool http_give_spare(struct http_thread *t, struct http_request *r);

/* The answer as a response that is used again, with its plain headers; it
 * stays the thread's. NULL: the answer is too long for that. The request's
 * thread. */
struct MHD_Response *http_keep(struct http_request *r);
/* The library has done with the request: whatever was kept for it may be used
 * again. */
void http_keep_ended(struct http_request *r);

/* --- routes -------------------------------------------------------------- */

/* The names of these methods, a bit each, with ", " between. */
const char *http_methods_text(unsigned methods, char out[HTTP_METHODS_SIZE]);
/* The route of a path with its parameters, or NULL. */
const struct http_route *http_route_find(const char *path,
                                         char param[][HTTP_PARAM_MAX + 1]);
/* Find who answers a request, with the parameters of its path, or fill in the
 * problem. */
void http_route(struct http_request *r, const char *target, const char *method);

/* Handlers of actions (struct http_action) ... */
http_handler_f http_best_get, http_pick_done, http_pick_refused, http_nodes_get,
    http_node_put, http_node_delete, http_gate_order, http_groups_list,
    http_group_get, http_group_put, http_work_list, http_work_post,
    http_work_put, http_work_at, http_work_release, http_fence_check,
    http_failovers_list, http_failovers_post, http_cluster_get, http_livez,
    http_readyz, http_metrics, http_openapi, http_root;
/* ... and what is called on the loop. */
http_handler_f http_cordon, http_drain, http_restart, http_forget,
    http_group_delete, http_work_get, http_work_done, http_work_handover,
    http_failover_get, http_failover_withdraw, http_settings_get,
    http_settings_patch;

/* --- nodes (nodes_list.c, nodes.c) --------------------------------------- */

/* The members of a node, into an open object. */
void http_show_node(struct buf *b, const struct coordinator_snapshot_node *n);
/* A page of them, as the query has it, or a problem. */
void http_nodes_list(struct http_request *r);
/* The index of what the request's topic is about: of a node, or of a kind or
 * all (address NULL). In the answer's head, and in `b` unless that is NULL. */
void http_put_nodes_index(struct http_request *r, struct buf *b,
                          const struct snapshot *s, enum node_kind kind,
                          const char *address);

/* --- heads (head.c) ------------------------------------------------------ */

/* Is the request's head acceptable? If not, a problem is filled in. */
bool http_head_fits(struct http_request *r, const char *version);
/* What is wrong with the request's target, or NONE; *asks: it has a query. */
enum problem http_uri_fault(const char *uri, bool *asks);

/* --- connections (conns.c) ----------------------------------------------- */

struct http_conns *http_conns_new(uint32_t max, uint32_t max_per_address);
void http_conns_free(struct http_conns **conns);

/* May one more come from there? Loopback always. */
bool http_conns_admit(struct http_conns *conns, const struct sockaddr *from);
/* Is one more within http.max-connections? The library counts for each socket
 * that listens: asked where there are several. */
bool http_conns_room(struct http_conns *conns);
struct http_conn *http_conns_add(struct http_conns *conns, int fd,
                                 const struct sockaddr *from, int64_t ms);
void http_conns_remove(struct http_conns *conns, struct http_conn *conn);

enum http_phase {
    HTTP_ANSWERED, /* or new: nothing is under way, as far as we know */
    HTTP_RECEIVES, /* a request comes in */
    HTTP_SENDS,    /* it is worked on, or an answer goes out */
};
/* What it does from `now` on must be over in so many ms; 0: it waits for us.
 * False: it was cut off before, and nothing may be sent any more. Its thread.
 */
bool http_conn_deadline(struct http_conn *conn, enum http_phase phase,
                        mono_ms now, int64_t ms);
/* A request's first line is there; the deadline stays until it is over, and is
 * then the request's own where it was an idle connection's. Its thread. */
void http_conn_begins(struct http_conn *conn);
int http_conn_fd(const struct http_conn *conn);
/* How long ago its last byte arrived, that is, a request that was sent to its
 * end: how long this has waited. Any thread. */
int64_t http_conn_waited_ms(const struct http_conn *conn);
/* Shut down those that are late, with 408 if half a request has come, and say
 * when all are taken. About once a second, by one thread. */
void http_conns_reap(struct http_conns *conns, mono_ms now);
/* At the last walk all were taken. Any thread. */
bool http_conns_full(const struct http_conns *conns);
uint32_t http_conns_count(struct http_conns *conns);

#endif
