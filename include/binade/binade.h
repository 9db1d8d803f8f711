/* Everything of Binade's public interface. */
#ifndef BINADE_BINADE_H
#define BINADE_BINADE_H

#include <binade/data.h>
#include <binade/device.h>
#include <binade/format.h>
#include <binade/generate.h>
#include <binade/graph.h>
#include <binade/precision.h>
#include <binade/status.h>
#include <binade/train.h>

#define BD_VERSION "0.1.0"

#endif
