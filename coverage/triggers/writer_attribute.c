/* Blocks that xmlTextWriterStartAttributeNS leaves behind when memory runs out. */
#define START xmlTextWriterStartAttributeNS
#include "writer_allocations.h"
