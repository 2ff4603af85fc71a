// The proxy as the data plane of a generation.
#pragma once

#include "lb/supervisor/data_plane.hpp"

namespace lb {

Result<std::unique_ptr<DataPlane>> make_proxy_data_plane(ProxyOptions options);

}  // namespace lb
