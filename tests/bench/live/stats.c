/* stats.c - what a run over HTTP was like, and whether it says anything. */
#include "tests/bench/live/live.h"

#include <inttypes.h>

const char *live_late(const struct live_stats *s)
{
    static char text[512];
    int n = 0;

    text[0] = '\0';
    if (s->behind_p99 > DISPATCH_S)
        n += snprintf(text + n, sizeof(text) - (size_t)n,
                      "the driver was %.1f ms behind; ", 1e3 * s->behind_p99);
    if (s->pick_p99 > DISPATCH_S)
        n += snprintf(text + n, sizeof(text) - (size_t)n,
                      "picks took %.1f ms; ", 1e3 * s->pick_p99);
    if (s->report_p99 > REPORT_MAX)
        n += snprintf(text + n, sizeof(text) - (size_t)n,
                      "heartbeats took %.1f ms; ", 1e3 * s->report_p99);
    if (s->failed > 0)
        n += snprintf(text + n, sizeof(text) - (size_t)n,
                      "%" PRIu64 " requests failed: %.200s", s->failed,
                      s->failure);
    return n > 0 ? text : NULL;
}

void live_print(const struct live_stats *s, FILE *out)
{
    fprintf(
        out,
        "  %.0f s, %" PRIu64 " picks (%.0f/s, %" PRIu64
        " named nobody), %" PRIu64 " of %" PRIu64
        " acknowledgements and %" PRIu64 " refusals, %" PRIu64 " heartbeats\n"
        "  ms: driver behind p99 %.2f max %.1f; pick p50 %.2f p99 %.2f max "
        "%.1f; heartbeat p99 %.2f max %.1f; coordinator %.0f %% of a core\n",
        s->seconds, s->asked, (double)s->asked / s->seconds, s->none,
        s->answered, s->acks, s->refusals, s->reports, 1e3 * s->behind_p99,
        1e3 * s->behind_max, 1e3 * s->pick_p50, 1e3 * s->pick_p99,
        1e3 * s->pick_max, 1e3 * s->report_p99, 1e3 * s->report_max,
        100 * s->server_cpu / s->seconds);
    fflush(out);
}
