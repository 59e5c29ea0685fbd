/* gauge HOURS prints the height of the water in metres, so many hours after a new moon; gauge -v prints the version of
   the library that it was built with. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tide.h"

int main(int argc, char **argv)
{
	char *end;
	if (argc == 2 && strcmp(argv[1], "-v") == 0) {
		puts(tide_version());
		return 0;
	}
	if (argc != 2) {
		fprintf(stderr, "usage: gauge HOURS | -v\n");
		return 2;
	}
	double hours = strtod(argv[1], &end);
	if (*end != 0 || end == argv[1]) {
		fprintf(stderr, "gauge: %s is not a number of hours\n", argv[1]);
		return 2;
	}
	printf("%.2f\n", tide_height(hours) / 100);
	return 0;
}
