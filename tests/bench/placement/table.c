/* table.c - the table on the terminal and the CSV. */
#include "tests/bench/placement/table.h"

#include "base/mem.h"

#include <stdint.h>
#include <string.h>

static void column(const struct block *b, size_t policy, enum metric metric,
                   double *out)
{
    assert(policy < b->n_policies);
    for (size_t i = 0; i < b->n_seeds; i++)
        out[i] = b->outcomes[policy * b->n_seeds + i].of[metric];
}

static struct estimate over_seeds(const struct block *b, size_t policy,
                                  enum metric metric)
{
    double *x = mem_array(b->n_seeds, sizeof(*x));

    column(b, policy, metric, x);
    struct estimate e = estimate_mean(x, b->n_seeds);

    mem_free(x);
    return e;
}

size_t block_find(const struct block *b, const char *policy)
{
    for (size_t i = 0; i < b->n_policies; i++)
        if (strcmp(b->policies[i]->name, policy) == 0)
            return i;
    return SIZE_MAX;
}

struct estimate block_ratio(const struct block *b, size_t policy, size_t to,
                            enum metric metric)
{
    double *x = mem_array(b->n_seeds, sizeof(*x));
    double *y = mem_array(b->n_seeds, sizeof(*y));

    column(b, policy, metric, x);
    column(b, to, metric, y);
    struct estimate e = estimate_ratio(x, y, b->n_seeds);

    mem_free(x);
    mem_free(y);
    return e;
}

void block_measure(const struct block *b, size_t policy, struct measured *out)
{
    size_t to = block_find(b, b->setting.scenario->reference);

    assert(policy < b->n_policies);
    assert(to < b->n_policies);
    for (int i = 0; i < METRICS; i++)
        out->of[i] = over_seeds(b, policy, (enum metric)i);
    out->mean_ratio = block_ratio(b, policy, to, METRIC_MEAN);
    out->p99_ratio = block_ratio(b, policy, to, METRIC_P99);
}

static void ratio_print(struct estimate e, FILE *out)
{
    if (e.value < 0)
        fprintf(out, " %7s %-6s", "-", "");
    else
        fprintf(out, " %7.2f +-%-4.2g", e.value, e.half);
}

void table_print(const struct block *b, FILE *out)
{
    const struct setting *s = &b->setting;
    char title[SETTING_TITLE], name[SETTING_NAME];

    fprintf(out, "\n%s; %s; %s (%s/%s/%s), %zu seeds\n", s->scenario->title,
            setting_title(s, title),
            s->acks == ACKS_ALL ? "with acknowledgements" : "heartbeats only",
            s->scenario->name, setting_name(s, name),
            s->acks == ACKS_ALL ? "acks" : "heartbeats", b->n_seeds);
    fprintf(out, "  %-32s %8s %-8s %8s %8s %8s %6s %9s %7s  x %s: mean, p99\n",
            "policy", "mean s", "+-95 %", "p50", "p99", "p99.9", ">1 s %",
            "max use %", "queue %", s->scenario->reference);
    for (size_t i = 0; i < b->n_policies; i++) {
        struct measured m;

        block_measure(b, i, &m);
        fprintf(out,
                "  %-32s %8.4f %-8.2g %8.3f %8.3f %8.3f %6.2f %4.0f/%-4.0f "
                "%7.2f",
                b->policies[i]->title, m.of[METRIC_MEAN].value,
                m.of[METRIC_MEAN].half, m.of[METRIC_P50].value,
                m.of[METRIC_P99].value, m.of[METRIC_P999].value,
                100 * m.of[METRIC_LATE].value, 100 * m.of[METRIC_MAX_USE].value,
                100 * m.of[METRIC_MEAN_USE].value,
                100 * m.of[METRIC_OVERLOAD].value);
        ratio_print(m.mean_ratio, out);
        ratio_print(m.p99_ratio, out);
        fputc('\n', out);
    }
    fflush(out);
}

static void csv_columns(FILE *out)
{
    fputs("scenario,variant,acks,policy,seeds", out);
    static const char *const columns[] = {
        "mean_s",  "p50_s",    "p99_s",    "p999_s",     "late",
        "max_use", "mean_use", "overload", "mean_ratio", "p99_ratio"};

    for (size_t i = 0; i < ARRAY_LEN(columns); i++)
        fprintf(out, ",%s,%s_ci95", columns[i], columns[i]);
}

void csv_begin(FILE *out)
{
    csv_columns(out);
    fputc('\n', out);
}

void live_csv_begin(FILE *out)
{
    csv_columns(out);
    fputs(",mean_simulated,mean_simulated_ci95\n", out);
}

static void csv_estimate(struct estimate e, FILE *out)
{
    if (e.value < 0)
        fputs(",,", out);
    else
        fprintf(out, ",%.9g,%.3g", e.value, e.half);
}

static void csv_row(const struct block *b, size_t policy, FILE *out)
{
    char name[SETTING_NAME];
    struct measured m;

    block_measure(b, policy, &m);
    fprintf(out, "%s,%s,%s,%s,%zu", b->setting.scenario->name,
            setting_name(&b->setting, name),
            b->setting.acks == ACKS_ALL ? "acks" : "heartbeats",
            b->policies[policy]->name, b->n_seeds);
    for (int j = 0; j < METRICS; j++)
        csv_estimate(m.of[j], out);
    csv_estimate(m.mean_ratio, out);
    csv_estimate(m.p99_ratio, out);
}

void csv_print(const struct block *b, FILE *out)
{
    for (size_t i = 0; i < b->n_policies; i++) {
        csv_row(b, i, out);
        fputc('\n', out);
    }
}

void live_csv_print(const struct block *b, FILE *out)
{
    size_t simulated = block_find(b, "ledger");

    assert(simulated != SIZE_MAX);
    for (size_t i = 0; i < b->n_policies; i++) {
        csv_row(b, i, out);
        csv_estimate(block_ratio(b, i, simulated, METRIC_MEAN), out);
        fputc('\n', out);
    }
}
