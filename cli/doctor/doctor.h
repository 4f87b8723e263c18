/*
 * doctor.h - `pelorus doctor`: is this installation well, and what will hurt?
 *
 *   doctor.c   words, the list of findings, and how it is printed
 *   host.c     the configuration, its files, this host
 *   store.c    the registry: its facts, a session, who else is there
 *   api.c      running coordinators
 *
 * Exit codes: 0 no problem (warnings, and what is not known, are told and are
 * none), 1 a problem, 2 usage.
 */
#ifndef PELORUS_CLI_DOCTOR_DOCTOR_H
#define PELORUS_CLI_DOCTOR_DOCTOR_H

/* argv[0] is "doctor". */
int cli_doctor(int argc, char **argv);

#endif
