/*
 * svg.c - the chart: one panel per setting, one row per policy.
 *
 * Queue waits differ by a factor of a million, so the axis is logarithmic. A
 * dot is the mean with its 95 % interval, filled with acknowledgements and
 * hollow without; the tick beside it is the 99th percentile.
 */
#include "tests/bench/placement/table.h"

#include <math.h>
#include <string.h>

#define COLUMNS 2U
#define LABEL   215.0 /* of a panel's width, in pixels */
#define PLOT    300.0
#define MARGIN  24.0
#define ROW     17.0
#define TOP     58.0 /* of a panel: its title and axis */
#define BOTTOM  20.0
#define LOG_MIN (-3.0) /* seconds, as powers of ten */
#define LOG_MAX 3.0
#define OURS    "#c2410c"
#define THEIRS  "#1d4ed8"
#define BOUND   "#15803d"

struct panel {
    const struct block *with, *without; /* acknowledgements; NULL: not there */
};

static double position(double s)
{
    double at = s > 0 ? log10(s) : LOG_MIN;

    return LABEL + PLOT * (fmin(fmax(at, LOG_MIN), LOG_MAX) - LOG_MIN) /
                       (LOG_MAX - LOG_MIN);
}

static const char *colour(const struct policy *p)
{
    static const char *const ours[] = {"ledger", "fixed", "dynamic",
                                       "dynamic-fair"};

    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        if (strcmp(p->name, ours[i]) == 0)
            return OURS;
    return strncmp(p->name, "oracle", 6) == 0 ? BOUND : THEIRS;
}

static void mark(const struct block *b, const struct policy *p, double y,
                 bool filled, FILE *out)
{
    size_t at = block_find(b, p->name);
    struct measured m;
    double half;

    if (at == SIZE_MAX)
        return;
    block_measure(b, at, &m);
    half = isfinite(m.of[METRIC_MEAN].half) ? m.of[METRIC_MEAN].half : 0;
    fprintf(out,
            "<path stroke='%s' d='M%.1f %.1fH%.1f'/>"
            "<circle cx='%.1f' cy='%.1f' r='3.5' stroke='%s' fill='%s'/>"
            "<path stroke='%s' %s d='M%.1f %.1fv8'/>\n",
            colour(p), position(m.of[METRIC_MEAN].value - half), y,
            position(m.of[METRIC_MEAN].value + half),
            position(m.of[METRIC_MEAN].value), y, colour(p),
            filled ? colour(p) : "#fff", colour(p),
            filled ? "" : "stroke-dasharray='2 1'",
            position(m.of[METRIC_P99].value), y - 4);
}

static void axis(double bottom, FILE *out)
{
    static const char *const labels[] = {"1 ms", "10 ms", "0.1 s", "1 s",
                                         "10 s", "100 s", "1000 s"};

    for (size_t i = 0; i < ARRAY_LEN(labels); i++) {
        double x = position(pow(10, LOG_MIN + (double)i));

        fprintf(out,
                "<path stroke='#ddd' d='M%.1f %.1fV%.1f'/>"
                "<text x='%.1f' y='%.1f' text-anchor='middle' "
                "fill='#555'>%s</text>\n",
                x, TOP - 10, bottom, x, TOP - 15, labels[i]);
    }
}

static size_t rows(const struct panel *p)
{
    return (p->with != NULL ? p->with : p->without)->n_policies;
}

static void panel_print(const struct panel *p, double x, double y, FILE *out)
{
    const struct block *b = p->with != NULL ? p->with : p->without;
    const struct setting *s = &b->setting;
    char title[SETTING_TITLE];

    assert(b != NULL);
    fprintf(out,
            "<g transform='translate(%.1f %.1f)'><text x='0' y='18' "
            "font-size='14' font-weight='bold'>%s%s%s</text>\n",
            x, y, s->scenario->title, setting_is_plain(s) ? "" : "; ",
            setting_is_plain(s) ? "" : setting_title(s, title));
    axis(TOP + ROW * (double)b->n_policies, out);
    for (size_t i = 0; i < b->n_policies; i++) {
        double at = TOP + ROW * ((double)i + .5);

        fprintf(out, "<text x='%.1f' y='%.1f' text-anchor='end'>%s</text>\n",
                LABEL - 8, at + 4, b->policies[i]->title);
        if (p->without != NULL &&
            (p->with == NULL || b->policies[i]->hears_acks))
            mark(p->without, b->policies[i], at, false, out);
        if (p->with != NULL)
            mark(p->with, b->policies[i], at, true, out);
    }
    fputs("</g>\n", out);
}

/* Blocks of one setting follow each other. */
static size_t panels_of(const struct block *blocks, size_t n, bool variants,
                        struct panel *panels)
{
    size_t n_panels = 0;

    for (size_t i = 0; i < n; i++) {
        const struct setting *s = &blocks[i].setting;
        struct panel *last = n_panels > 0 ? &panels[n_panels - 1] : NULL;

        if (setting_is_plain(s) == variants)
            continue;
        if (s->acks == ACKS_ALL)
            panels[n_panels++] = (struct panel){.with = &blocks[i]};
        else if (last != NULL && last->with != NULL && last->without == NULL &&
                 last->with->setting.scenario == s->scenario &&
                 last->with->setting.variant == s->variant &&
                 last->with->setting.tenth == s->tenth)
            last->without = &blocks[i];
        else
            panels[n_panels++] = (struct panel){.without = &blocks[i]};
    }
    return n_panels;
}

void svg_print(const struct block *blocks, size_t n, bool variants, FILE *out)
{
    struct panel panels[128];
    size_t n_panels, most = 1;

    assert(n <= ARRAY_LEN(panels));
    n_panels = panels_of(blocks, n, variants, panels);
    for (size_t i = 0; i < n_panels; i++)
        most = rows(&panels[i]) > most ? rows(&panels[i]) : most;
    double width = LABEL + PLOT + 2 * MARGIN;
    double height = TOP + ROW * (double)most + BOTTOM;
    size_t lines = (n_panels + COLUMNS - 1) / COLUMNS;

    fprintf(out,
            "<svg xmlns='http://www.w3.org/2000/svg' width='%.0f' "
            "height='%.0f' font-family='sans-serif' font-size='11' "
            "fill='#111'>\n<rect width='100%%' height='100%%' fill='#fff'/>\n"
            "<text x='%.0f' y='20'>queue wait: mean with its 95 %% interval "
            "(dot; filled: with acknowledgements, hollow: heartbeats only) "
            "and 99th percentile (tick)</text>\n<g transform='translate(0 "
            "26)'>\n",
            COLUMNS * width, (double)lines * height + 40, MARGIN);
    for (size_t i = 0; i < n_panels; i++)
        panel_print(&panels[i], MARGIN + width * (double)(i % COLUMNS),
                    height * floor((double)i / COLUMNS), out);
    fputs("</g>\n</svg>\n", out);
}
