/* Blocks that xmlTextWriterStartElementNS leaves behind when memory runs out. */
#define START xmlTextWriterStartElementNS
#include "writer_allocations.h"
