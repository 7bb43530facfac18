#include <boost/asio/io_context.hpp>
#include <utility>

#include "runtime/cli/commands.h"
#include "runtime/cli/compose.h"
#include "runtime/cli/toolset_flags.h"
#include "runtime/cli/worker.h"

/// `ponder work`: goes on with the queued sessions of a shared store, many at once.
namespace ponder::cli {

int work(const Environment& environment, const WorkOptions& options) {
  auto library = library_dir(environment);
  if (!library) return complain(library.error().message);
  const auto store = open_store(environment);
  if (!store) return complain(store.error().message);
  if ((*store)->queue() == nullptr) return complain(kNoQueue);
  boost::asio::io_context io(1);
  auto toolset = toolset_of(environment, options.toolset);
  if (!toolset) return complain(toolset.error().message);
  Worker worker(environment, options, std::move(*library), std::move(*toolset), **store, io);
  return run_interruptibly(io, worker.run(), [&worker] { worker.stop(); });
}

}  // namespace ponder::cli
