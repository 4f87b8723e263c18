/* memory_faults.h - the tests of the memory registry's own faults, for
 * test_memory.c. Each returns the number of failed tests. */
#ifndef PELORUS_TESTS_REGISTRY_MEMORY_FAULTS_H
#define PELORUS_TESTS_REGISTRY_MEMORY_FAULTS_H

int memory_faults_run(void); /* one fault at a time; runs the storm, too */
int memory_storm_run(void);  /* all of them at once */
int memory_worlds_run(void); /* a session that only seems to live */

#endif
