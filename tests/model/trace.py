#!/usr/bin/env python3
"""trace.py CASE: the trace that run.sh left for a case, one line per step.

Each line says who moved and what that changed in the registry, in the nodes
and in the engines, with the names of the states instead of their numbers.
Output is looked for where run.sh puts it: $BUILD, else build/model.
"""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
STEPS = ('IDLE WANT_LOCK HAVE_LOCK READING READING_NODES OPENING INTENT VERIFY '
         'TAKE_BACK SET_MOVING LISTING MOVING CLOSING COLLECTING RELEASE '
         'HOOKING DROPPING HOLDING').split()
NAMES = {
    'gate': 'absent open FENCED DRAINING RESTARTING CLOSED LEFT'.split(),
    'wstate': 'none assigned waiting held done'.split(),
    'rec': 'none INTENT MOVING ended'.split(),
    'step': STEPS,
    'ord': '- queued held taken ended'.split(),
    'api_step': '- submit done handover release gate-remove admit withdraw'.split(),
    'pstep': '- taken registration gate own-write GROUP'.split(),
    'dstep': '- read DOUBT rings DELETE'.split(),
    'estep': '- read nodes INTENT verify move open'.split(),
}
SHOWN = set(NAMES) | set(
    'reg gproc past heir_of wowner wproc wepoch rproc lock_holder floor_epoch '
    'alive cache calm cur_lock kept_epoch fenced unbroken to version state '
    'process owner incarnation finished session '
    'drain_of due drained noted how about departed paused hook_runs '
    'name doubted wide put vname vproc lease told owed unseen start entry '
    'ring_there up bereft ordered cur_taken'.split())
STEP = re.compile(r'\s*(\d+):\s+proc\s+\d+ \((\w+):')
VALUE = re.compile(r'\s+(\w+)(\[\d+\])? = (\d+)$')


def replay(case, build):
    """The lines of spin's guided simulation of the trail of this case."""
    out = os.path.join(build, case)
    try:
        with open(os.path.join(out, 'flags'), encoding='utf-8') as f:
            model, *flags = f.read().split()
    except OSError as e:
        sys.exit(f'trace.py: {e}; run tests/model/run.sh {case} first')
    trail = os.path.join(out, f'{model}.pml.trail')
    if not os.path.exists(trail):
        sys.exit(f'trace.py: {case} left no trace: no violation was found')
    command = ['spin', '-t', '-k', trail, '-g', '-p', *flags,
               os.path.join(HERE, f'{model}.pml')]
    return subprocess.run(command, cwd=out, capture_output=True, text=True,
                          check=False).stdout.splitlines()


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    build = os.path.abspath(os.environ.get('BUILD', 'build/model'))
    known, changed, where = {}, {}, None

    def flush():
        if changed:
            what = ', '.join(f'{k}={v}' for k, v in changed.items())
            print(f'{where[0]:>5} {where[1]:8} {what}')
            changed.clear()

    for line in replay(sys.argv[1], build):
        step = STEP.match(line)
        if step and step.groups() != where:
            flush()
            where = step.groups()
        value = VALUE.match(line)
        if value and where and value.group(1) in SHOWN:
            base, name = value.group(1), value.group(1) + (value.group(2) or '')
            number = int(value.group(3))
            if known.get(name, 0) != number:
                known[name] = number
                changed[name] = NAMES[base][number] if base in NAMES else number
        elif 'assertion violated' in line:
            flush()
            print(line.strip())
    flush()


if __name__ == '__main__':
    main()
