/* failover.pml - the failover protocol, for spin: what tests/model/run.sh
 * searches.  README.md says what is in it, how to run it, and how to read a
 * trace.
 *
 * The design decision: the model is the protocol as it is built, with its
 * states under the names that failover/failover.h draws; every rule that can
 * be taken out is a switch (BUG_x), and taking it out must be found.  So the
 * model can neither drift from the code unnoticed nor prove too much. */
#include "bounds.pml"
#include "registry.pml"
#include "gone.pml"
#include "orders.pml"
#include "txns.pml"
#include "engine.pml"
#include "api.pml"
#include "nodes.pml"
#include "world.pml"

init { atomic {
    byte k;
    REACH_BEGIN;
    for (k : 0 .. NA-1) {
        started[k] = 1; alive[k] = BIT(1); reg[k] = 1; CACHE(0, k) = 1; CACHE(1, k) = 1;
#ifdef LEASES
        lease[k] = BIT(1);
#endif
#if defined(ASSIGNED_FIRST) || defined(GATES_FIRST)
        gate[k] = OPEN; gproc[k] = 1
#endif
    }
#ifdef ASSIGNED_FIRST       /* begin with every item at address 0 */
    for (k : 0 .. NI-1) {
        wstate[k] = ASSIGNED; wproc[k] = 1; wepoch[k] = 1; winc[k] = 1;
        ninc[k] = 1; epoch_max[k] = 1; MPROC(0, k) = 1; MEPOCH(0, k) = 1
    }
#endif
    run Engine(0);
#if NENG > 1
    run Engine(1);
#endif
    run Api(0);
#if NAPI > 1
    run Api(1);
#endif
    run World();
#ifdef LEASES
    run Nodes();
#endif
#ifdef LIVE
    run Progress()
#else
    run Monitor()
#endif
} }
