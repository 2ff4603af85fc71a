// The keys that say when a configuration is loaded and undone: a part of the key table, for keys.cpp only.
#pragma once

#include <array>

#include "lb/config/key_slots.hpp"
#include "lb/config/model.hpp"

namespace lb {

inline constexpr auto kReloadKeys = std::to_array<KeySpec>({
    {.name = "watch",
     .type = KeyType::boolean,
     .help = "Reload by itself when the content of the configuration file changes.",
     .slot = slot<&ReloadConfig::watch>},
    {.name = "debounce",
     .type = KeyType::seconds,
     .min = kSecondsMin,
     .max = 60,
     .help = "The watched file must have been left alone for this long.",
     .slot = slot<&ReloadConfig::debounce>},
    {.name = "probation",
     .type = KeyType::seconds,
     .min = 0,
     .max = kDay,
     .help = "A new configuration serves this long before it counts as good. When its process dies, or a "
             "backend fails more than before, the last good one comes back. 0: good at once, never undone.",
     .slot = slot<&ReloadConfig::probation>},
    {.name = "requests_min",
     .type = KeyType::integer,
     .min = 1,
     .max = 1'000'000,
     .help = "Fewer requests to a backend than this say nothing about a new configuration.",
     .slot = slot<&ReloadConfig::requests_min>},
    {.name = "failure_increase",
     .type = KeyType::number,
     .min = 0,
     .max = 1,
     .help = "A backend whose share of failed requests is more than this above the share before is a reason "
             "to go back.",
     .slot = slot<&ReloadConfig::failure_increase>},
});
inline constexpr Section kReload{.pointer = "/reload", .keys = kReloadKeys};

}  // namespace lb
