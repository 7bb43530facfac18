#include "runtime/cli/line_source.h"

#include <histedit.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <clocale>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cwchar>
#include <mutex>
#include <thread>
#include <utility>

#include "base/assert.h"
#include "runtime/cli/commands.h"

namespace ponder::cli {
namespace asio = boost::asio;
namespace {

constexpr int kHistoryLines = 200;
constexpr std::size_t kLineBytesMax = std::size_t{1} << 20;

/// A line on its way to the coroutine that asked for it; nothing in it: the end of input. Shared by
/// the source and what its thread has posted, whichever lives longer. Used on home only.
struct Mailbox {
  explicit Mailbox(const asio::any_io_executor& home)
      : arrived(home, asio::steady_timer::time_point::max()) {}
  asio::steady_timer arrived;  // never expires
  std::optional<std::optional<std::string>> line;
};

/// Can keep the terminal from echoing and from waiting for whole lines; gives it back as it was.
class QuietTerminal {
 public:
  QuietTerminal() { is_known_ = tcgetattr(STDIN_FILENO, &before_) == 0; }
  ~QuietTerminal() { restore(); }
  QuietTerminal(const QuietTerminal&) = delete;
  QuietTerminal& operator=(const QuietTerminal&) = delete;
  void silence() const {
    termios quiet = before_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    quiet.c_cc[VMIN] = 1;
    quiet.c_cc[VTIME] = 0;
    if (is_known_) tcsetattr(STDIN_FILENO, TCSANOW, &quiet);
  }
  void restore() const {
    if (is_known_) tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }

 private:
  termios before_{};
  bool is_known_ = false;
};

struct EndEditor {
  void operator()(EditLine* editor) const noexcept { el_end(editor); }
};
struct EndHistory {
  void operator()(History* history) const noexcept { history_end(history); }
};

}  // namespace

/// The thread and what it shares with the rest.
class LineSource::Reader {
 public:
  Reader(const asio::any_io_executor& home, Output& output, bool is_terminal)
      : home_(home),
        output_(&output),
        mailbox_(std::make_shared<Mailbox>(home)),
        notices_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    PONDER_ASSERT(notices_ >= 0);
    if (is_terminal) open_editor();
    thread_ = std::thread([this] { run(); });
  }
  ~Reader() {
    close();
    thread_.join();
    ::close(notices_);
  }

  std::shared_ptr<Mailbox> ask() {
    const std::lock_guard lock(mutex_);
    is_wanted_ = true;
    if (is_closed_) mailbox_->line.emplace();
    changed_.notify_all();
    return mailbox_;
  }
  void set_at_work(bool is_at_work) {
    change([&] { is_at_work_ = is_at_work; });
  }
  void drop_line() {
    change([&] { is_dropped_ = is_editing_; });
  }
  void close() {
    change([&] { is_closed_ = true; });
  }
  void restore_terminal() const {
    if (quiet_) quiet_->restore();
  }

 private:
  enum class Woken { input, notice, closed };

  void open_editor() {
    // The editor shows characters, not bytes, if it knows how they are written.
    const char* locale = std::setlocale(LC_CTYPE, "");
    if (locale == nullptr || std::string(locale) == "C") std::setlocale(LC_CTYPE, "C.UTF-8");
    quiet_.emplace();
    history_.reset(history_init());
    editor_.reset(el_init("ponder", stdin, stdout, stderr));
    if (!editor_ || !history_) return;
    HistEvent event;
    history(history_.get(), &event, H_SETSIZE, kHistoryLines);
    el_set(editor_.get(), EL_CLIENTDATA, this);
    el_set(editor_.get(), EL_PROMPT, &Reader::prompt_of);
    el_set(editor_.get(), EL_GETCFN, &Reader::character_for);
    el_set(editor_.get(), EL_EDITOR, "emacs");
    el_set(editor_.get(), EL_HIST, history, history_.get());
  }

  template <class Change>
  void change(Change&& apply) {
    const std::lock_guard lock(mutex_);
    apply();
    changed_.notify_all();
    const std::uint64_t one = 1;
    const ssize_t ignored = ::write(notices_, &one, sizeof one);
    (void)ignored;  // a counter that is full wakes the thread all the same
  }

  void run() {
    while (wait_until_wanted()) {
      std::optional<std::string> line = editor_ ? edit_line() : read_line();
      asio::post(home_, [mailbox = mailbox_, line = std::move(line)]() mutable {
        mailbox->line.emplace(std::move(line));
        mailbox->arrived.cancel();
      });
    }
  }

  bool wait_until_wanted() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_wanted_ || is_closed_; });
    // Whoever asked is answered even when it is over: wait() says so to what reads.
    return std::exchange(is_wanted_, false);
  }

  /// Waits for input or for something to change here.
  Woken wait() {
    std::array<pollfd, 2> waits{pollfd{STDIN_FILENO, POLLIN, 0}, pollfd{notices_, POLLIN, 0}};
    while (poll(waits.data(), waits.size(), -1) < 0) PONDER_ASSERT(errno == EINTR);
    if (waits[1].revents != 0) {
      std::uint64_t count = 0;
      const ssize_t ignored = ::read(notices_, &count, sizeof count);
      (void)ignored;
      const std::lock_guard lock(mutex_);
      return is_closed_ ? Woken::closed : Woken::notice;
    }
    return Woken::input;
  }

  /// From a pipe or a file.
  std::optional<std::string> read_line() {
    while (true) {
      const std::size_t end = pending_.find('\n');
      if (end != std::string::npos) {
        std::string line = pending_.substr(0, end);
        pending_.erase(0, end + 1);
        return line;
      }
      if (pending_.size() > kLineBytesMax) {
        complain("a line of more than 1 MiB: the input ends here");
        return std::nullopt;
      }
      const Woken woken = wait();
      if (woken == Woken::closed) return std::nullopt;
      if (woken == Woken::notice) continue;
      std::array<char, 4096> buffer;
      const ssize_t count = ::read(STDIN_FILENO, buffer.data(), buffer.size());
      if (count > 0) {
        pending_.append(buffer.data(), static_cast<std::size_t>(count));
      } else if (pending_.empty()) {
        return std::nullopt;
      } else {
        pending_ += '\n';  // the last line may lack its end
      }
    }
  }

  /// On a terminal. Asks again when a line was dropped.
  std::optional<std::string> edit_line() {
    while (true) {
      if (!wait_for_prompt()) return std::nullopt;
      int length = 0;
      const char* typed = el_gets(editor_.get(), &length);
      std::optional<std::string> line;
      if (typed != nullptr && length > 0) line.emplace(typed, static_cast<std::size_t>(length));
      const bool is_dropped = end_edit(!line);
      if (is_dropped) continue;
      if (!line) return std::nullopt;
      HistEvent event;
      if (line->size() > 1) history(history_.get(), &event, H_ENTER, line->c_str());
      while (!line->empty() && (line->back() == '\n' || line->back() == '\r')) line->pop_back();
      return line;
    }
  }

  /// Until it is time to show the prompt: at once at rest, at work when a key was pressed. False
  /// when the source was closed. Requires: the editor is open.
  bool wait_for_prompt() {
    PONDER_ASSERT(quiet_);
    quiet_->silence();  // the editor left the terminal as it is for other programs
    while (true) {
      {
        const std::lock_guard lock(mutex_);
        if (is_closed_) return false;
        is_editing_ = true;
        prompt_ = is_at_work_ ? "steer> " : "you> ";
        if (!is_at_work_) return true;
        is_editing_ = false;
      }
      if (wait() != Woken::input) continue;
      output_->hold();
      const std::lock_guard lock(mutex_);
      is_editing_ = true;
      return true;
    }
  }

  /// Whether the line was dropped.
  bool end_edit(bool is_line_open) {
    if (is_line_open) {
      std::fputs("\n", stdout);
      std::fflush(stdout);
    }
    output_->release();
    const std::lock_guard lock(mutex_);
    is_editing_ = false;
    return std::exchange(is_dropped_, false);
  }

  static Reader& self_of(EditLine* editor) {
    void* self = nullptr;
    el_get(editor, EL_CLIENTDATA, &self);
    return *static_cast<Reader*>(self);
  }
  static char* prompt_of(EditLine* editor) { return self_of(editor).prompt_.data(); }
  static int character_for(EditLine* editor, wchar_t* out) {
    return self_of(editor).next_character(out);
  }

  /// 1 with a character, 0 when there is none any more.
  int next_character(wchar_t* out) {
    std::mbstate_t state{};
    while (true) {
      const Woken woken = wait();
      if (woken == Woken::closed) return 0;
      if (woken == Woken::notice) {
        const std::lock_guard lock(mutex_);
        if (is_dropped_) return 0;
        continue;
      }
      char byte = 0;
      if (::read(STDIN_FILENO, &byte, 1) != 1) return 0;
      const std::size_t used = std::mbrtowc(out, &byte, 1, &state);
      if (used == 1 || used == 0) return 1;
      if (used == static_cast<std::size_t>(-1)) state = {};  // no character: passed over
    }
  }

  asio::any_io_executor home_;
  Output* output_;
  std::shared_ptr<Mailbox> mailbox_;
  int notices_;  // an eventfd: readable when something below has changed

  std::mutex mutex_;  // guards what follows, up to the thread's own
  std::condition_variable changed_;
  bool is_wanted_ = false;
  bool is_at_work_ = false;
  bool is_editing_ = false;
  bool is_dropped_ = false;
  bool is_closed_ = false;

  // The thread's own.
  std::string pending_;  // read, not yet given
  std::string prompt_;
  std::optional<QuietTerminal> quiet_;  // before the editor, which takes it for the normal state
  std::unique_ptr<History, EndHistory> history_;
  std::unique_ptr<EditLine, EndEditor> editor_;  // uses history_: declared after it
  std::thread thread_;                           // last: it uses all of the above
};

LineSource::LineSource(const asio::any_io_executor& home, Output& output, bool is_terminal)
    : reader_(std::make_unique<Reader>(home, output, is_terminal)) {}

LineSource::~LineSource() = default;

asio::awaitable<std::optional<std::string>> LineSource::next() {
  const std::shared_ptr<Mailbox> mailbox = reader_->ask();
  while (!mailbox->line) {
    boost::system::error_code ignored;
    co_await mailbox->arrived.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  auto& arrived = mailbox->line;
  PONDER_ASSERT(arrived);
  std::optional<std::string> line = std::move(*arrived);
  arrived.reset();
  co_return line;
}

void LineSource::set_at_work(bool is_at_work) { reader_->set_at_work(is_at_work); }
void LineSource::drop_line() { reader_->drop_line(); }
void LineSource::close() { reader_->close(); }
void LineSource::restore_terminal() const { reader_->restore_terminal(); }

}  // namespace ponder::cli
