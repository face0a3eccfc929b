/* Each allocation of START, a function of the XML writer, fails in turn: blocks stay behind. */
#include "session.h"
#include "counted.h"
#include <libxml/parser.h>
#include <libxml/xmlwriter.h>

static void quiet(void *user, xmlErrorPtr error) { (void)user, (void)error; }

void prepare(void)
{
    counted_start();
    xmlInitParser();
}

/* Blocks left when the call number `fail` to the allocator fails; the global error is reset, its text is no leak. */
static long left(long fail)
{
    xmlBufferPtr buffer = xmlBufferCreate();
    xmlTextWriterPtr writer = xmlNewTextWriterMemory(buffer, 0);
    xmlTextWriterStartElement(writer, BAD_CAST "root");
    counted_fail = fail;
    START(writer, BAD_CAST "p", BAD_CAST "name", BAD_CAST "urn:x");
    counted_fail = -1;
    xmlFreeTextWriter(writer);
    xmlBufferFree(buffer);
    xmlResetLastError();
    return counted_live;
}

void hole(void)
{
    xmlSetStructuredErrorFunc(NULL, quiet);
    long sum = 0, before;
    left(-1);
    for (long fail = 0; fail < 40; fail++) {
        before = counted_live;
        sum += left(fail) - before;
    }
    say("%ld blocks leaked", sum);
}
