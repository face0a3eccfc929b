/* Grammars that include one another 1,500 deep are all taken: nothing bounds the recursion. */
#include "session.h"
#include <libxml/parser.h>
#include <libxml/relaxng.h>

#define DEPTH 1500

static void quiet(void *user, xmlErrorPtr error) { (void)user, (void)error; }

void prepare(void)
{
    const struct rlimit stack = {64 << 20, RLIM_INFINITY}, files = {4096, 4096};
    setrlimit(RLIMIT_STACK, &stack);
    setrlimit(RLIMIT_NOFILE, &files);
    xmlInitParser();
}

void hole(void)
{
    static const char last[] = "<grammar xmlns=\"http://relaxng.org/ns/structure/1.0\"><start><element name=\"a\">"
                               "<empty/></element></start></grammar>";
    char text[256];
    const char *next = file_of(last, sizeof last - 1);
    for (int i = 0; i < DEPTH; i++) {
        int length = snprintf(text, sizeof text,
                              "<grammar xmlns=\"http://relaxng.org/ns/structure/1.0\"><include href=\"%s\"/></grammar>",
                              next);
        next = file_of(text, (size_t)length);
    }
    xmlRelaxNGParserCtxtPtr parser = xmlRelaxNGNewParserCtxt(next);
    xmlRelaxNGSetParserStructuredErrors(parser, quiet, NULL);
    say("grammar %s", xmlRelaxNGParse(parser) ? "taken" : "rejected");
}
