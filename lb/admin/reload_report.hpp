// The ledger of reloads as text for people: one reload as a tree, or all that are remembered as a table.
// Pure; reads JSON as the control socket tells it (the keys are documented in lb/README.md), and tolerates
// missing keys, so that a client may be of another version than the balancer.
#pragma once

#include <string>
#include <string_view>

#include "lb/admin/json_view.hpp"
#include "lb/admin/text_style.hpp"

namespace lb {

/// Of one element of "reloads". Several lines, the last with its end.
std::string reload_report(const OrderedJson& record, const TextStyle& style);
/// Of the answer to "reloads"; what cannot be shown is said.
std::string reloads_table(std::string_view line, const TextStyle& style);

/// The one reload in the answer to {"cmd":"reloads","number":N}; null when there is none. `error`: why.
OrderedJson one_reload(std::string_view line, std::string& error);

/// What the generation that was replaced still has to do, in one line without its end; empty when nothing is
/// known.
std::string drain_under_way(const OrderedJson& record);

}  // namespace lb
