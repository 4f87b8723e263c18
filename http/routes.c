/*
 * routes.c - every route of the API in one table.
 *
 * Paths are matched segment by segment; "{}" takes any one segment. Two dozen
 * routes are walked in the order of how often they are asked for.
 */
#include "http/http_priv.h"

#include <string.h>

static const struct http_route routes[] = {
    {"/v1/workers/best", {[HTTP_GET] = http_best_get}},
    {"/v1/picks/{}/done", {[HTTP_POST] = http_pick_done}},
    {"/v1/picks/{}/refused", {[HTTP_POST] = http_pick_refused}},
    {"/v1/nodes/{}/{}",
     {[HTTP_GET] = http_node_get,
      [HTTP_PUT] = http_node_put,
      [HTTP_DELETE] = http_node_delete}},
    {"/v1/work/{}",
     {[HTTP_GET] = http_work_get,
      [HTTP_PUT] = http_work_put,
      [HTTP_DELETE] = http_work_delete}},
    {"/v1/work", {[HTTP_GET] = http_work_list, [HTTP_POST] = http_work_post}},
    {"/v1/fence/check", {[HTTP_POST] = http_fence_check}},
    {"/v1/nodes", {[HTTP_GET] = http_nodes_list}},
    {"/v1/work/{}/handover", {[HTTP_POST] = http_work_handover}},
    {"/v1/work/{}/release", {[HTTP_POST] = http_work_release}},
    {"/v1/nodes/{}/{}/cordon",
     {[HTTP_PUT] = http_cordon, [HTTP_DELETE] = http_cordon}},
    {"/v1/nodes/{}/{}/drain",
     {[HTTP_PUT] = http_drain, [HTTP_DELETE] = http_drain}},
    {"/v1/nodes/{}/{}/restart",
     {[HTTP_PUT] = http_restart, [HTTP_DELETE] = http_restart}},
    {"/v1/groups", {[HTTP_GET] = http_groups_list}},
    {"/v1/groups/{}",
     {[HTTP_GET] = http_group_get,
      [HTTP_PUT] = http_group_put,
      [HTTP_DELETE] = http_group_delete}},
    {"/v1/failovers",
     {[HTTP_GET] = http_failovers_list, [HTTP_POST] = http_failovers_post}},
    {"/v1/failovers/{}",
     {[HTTP_GET] = http_failover_get, [HTTP_DELETE] = http_failover_delete}},
    {"/v1/settings",
     {[HTTP_GET] = http_settings_get, [HTTP_PATCH] = http_settings_patch}},
    {"/v1/cluster", {[HTTP_GET] = http_cluster_get}},
    {"/livez", {[HTTP_GET] = http_livez}},
    {"/readyz", {[HTTP_GET] = http_readyz}},
    {"/openapi.yaml", {[HTTP_GET] = http_openapi}},
    {"/", {[HTTP_GET] = http_root}},
};

static bool matches(const char *pattern, const char *path,
                    char param[][HTTP_PARAM_MAX + 1])
{
    unsigned n = 0;

    while (*pattern != '\0') {
        size_t len;

        if (pattern[0] != '{') {
            if (*pattern++ != *path++)
                return false;
            continue;
        }
        len = strcspn(path, "/");
        if (len == 0 || len > HTTP_PARAM_MAX)
            return false;
        assert(n < HTTP_PARAMS_MAX);
        memcpy(param[n], path, len);
        param[n++][len] = '\0';
        path += len;
        pattern += 2;
    }
    return *path == '\0';
}

const struct http_route *http_route_find(const char *path,
                                         char param[][HTTP_PARAM_MAX + 1])
{
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (matches(routes[i].path, path, param))
            return &routes[i];
    return NULL;
}
