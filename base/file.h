/*
 * file.h - files whose names must outlast a crash. Any thread; blocks.
 */
#ifndef PELORUS_BASE_FILE_H
#define PELORUS_BASE_FILE_H

/* A file was made or renamed there: have its name on disk, too (fsync of the
 * directory). 0, or -1 and errno. */
int file_sync_name(const char *path);

#endif
