/* The error about a surplus item of a list is kept by its pointer and read after the list was freed. */
#include "session.h"
#include "counted.h"
#include <libxml/parser.h>
#include <libxml/relaxng.h>

static char seen[400];

static void keep(void *user, xmlErrorPtr error)
{
    (void)user;
    size_t used = strlen(seen);
    snprintf(seen + used, sizeof seen - used, "%.60s", error->message);
}

void prepare(void)
{
    counted_start();
    xmlInitParser();
}

void hole(void)
{
    static const char grammar[] =
        "<element name=\"a\" xmlns=\"http://relaxng.org/ns/structure/1.0\""
        " datatypeLibrary=\"http://www.w3.org/2001/XMLSchema-datatypes\"><choice>"
        "<list><data type=\"int\"/></list><list><data type=\"boolean\"/></list></choice></element>";
    static const char text[] = "<a>1 surplus</a>";
    xmlRelaxNGParserCtxtPtr parser = xmlRelaxNGNewMemParserCtxt(grammar, sizeof grammar - 1);
    xmlRelaxNGPtr schema = xmlRelaxNGParse(parser);
    xmlRelaxNGValidCtxtPtr valid = xmlRelaxNGNewValidCtxt(schema);
    xmlRelaxNGSetValidStructuredErrors(valid, keep, NULL);
    xmlRelaxNGValidateDoc(valid, xmlReadMemory(text, sizeof text - 1, "a.xml", NULL, 0));
    if (strstr(seen, "in list: surplus"))
        say("item named");
    else
        say("%s", strstr(seen, "in list: ") ? "freed memory shown" : "no error");
}
