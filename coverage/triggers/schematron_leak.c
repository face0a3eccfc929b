/* The message of a rule whose test is no XPath is never freed. */
#include "session.h"
#include "counted.h"
#include <libxml/parser.h>
#include <libxml/schematron.h>

static void quiet(void *user, xmlErrorPtr error) { (void)user, (void)error; }

void prepare(void)
{
    counted_start();
    xmlInitParser();
}

static void parse(void)
{
    static const char schema[] =
        "<schema xmlns=\"http://www.ascc.net/xml/schematron\"><pattern name=\"p\"><rule context=\"a\">"
        "<assert test=\"[[\">message</assert><report test=\"[[\">message</report></rule></pattern></schema>";
    xmlSchematronParserCtxtPtr parser = xmlSchematronNewMemParserCtxt(schema, sizeof schema - 1);
    xmlSchematronFree(xmlSchematronParse(parser));
    xmlSchematronFreeParserCtxt(parser);
    xmlResetLastError();
}

void hole(void)
{
    xmlSetStructuredErrorFunc(NULL, quiet);
    xmlSetGenericErrorFunc(NULL, NULL);
    parse();
    long before = counted_live;
    for (int i = 0; i < 100; i++)
        parse();
    say("%ld blocks leaked in 100 schemas", counted_live - before);
}
