// Selection by several blocks for a row gives what one block gives, and what the scalar row of the
// CPU gives: positions, slots and counts of NaN, to the last tie.

#include <functional>

#include "tests/kernels/device/device_pages.h"
#include "tests/kernels/device/selection_reference.h"

namespace ponder::kernels {
namespace {

constexpr std::size_t kStride = kSelectSplitKeysMin + 1700;
constexpr std::size_t kPiece = kSelectPieceKeys;
constexpr std::size_t kGuard = 3;

/// What a selection writes.
struct Selected {
  std::vector<std::int32_t> positions;
  std::vector<std::int32_t> slots;
  std::vector<std::int32_t> num_selected;
  std::vector<std::int32_t> num_nan;
  bool operator==(const Selected&) const = default;
};

class DeviceSelectSplit : public DeviceTest {
 protected:
  struct Case {
    std::vector<float> scores;  // [rows, stride]
    std::vector<std::int32_t> num_keys;
    std::size_t first_key = 0;
    std::size_t k = 64;
    std::size_t stride = kStride;
  };

  /// With `workspace` null: by one block for each row.
  Selected run(const Case& c, const PagedSequences& pages, std::uint32_t* workspace) {
    const std::size_t rows = c.num_keys.size();
    const DeviceArray<float> scores(device(), c.scores);
    const DeviceArray<std::int32_t> num_keys(device(), c.num_keys);
    std::vector<std::int32_t> owners(rows);
    for (std::size_t r = 0; r < rows; ++r) owners[r] = static_cast<std::int32_t>(r % 2);
    const DeviceArray<std::int32_t> sequences(device(), owners);
    // What lies behind them stays as it is.
    const DeviceArray<std::int32_t> positions(device(), rows * c.k + kGuard);
    const DeviceArray<std::int32_t> slots(device(), rows * c.k + kGuard);
    const DeviceArray<std::int32_t> num_selected(device(), rows + kGuard);
    const DeviceArray<std::int32_t> num_nan(device(), std::vector<std::int32_t>(rows, 7));
    device().select({scores.data(), c.stride, pages.sequences(sequences), num_keys.data(),
                     c.first_key, c.k, positions.data(), slots.data(), num_selected.data(),
                     num_nan.data(), rows, workspace});
    return {guarded(positions), guarded(slots), guarded(num_selected), num_nan.download()};
  }

  static std::vector<std::int32_t> guarded(const DeviceArray<std::int32_t>& array) {
    std::vector<std::int32_t> values = array.download();
    for (std::size_t i = values.size() - kGuard; i < values.size(); ++i) EXPECT_EQ(values[i], -1);
    values.resize(values.size() - kGuard);
    return values;
  }

  void expect_all_alike(const Case& c, const std::string& what) {
    SCOPED_TRACE(what);
    const std::size_t rows = c.num_keys.size();
    const PagedSequences pages(device(), 64, 0, {c.stride, c.stride}, rng);
    const DeviceArray<std::uint32_t> workspace(device(), select_workspace_words(rows, c.stride));
    const Selected split = run(c, pages, workspace.data());
    // Another selection's leavings in the workspace change nothing.
    EXPECT_EQ(run(c, pages, workspace.data()), split);
    EXPECT_EQ(run(c, pages, nullptr), split);
    for (std::size_t r = 0; r < rows; ++r) {
      const auto n = static_cast<std::size_t>(c.num_keys[r]);
      const auto first = c.scores.begin() + static_cast<std::ptrdiff_t>(r * c.stride);
      const std::vector<float> own(first, first + static_cast<std::ptrdiff_t>(c.stride));
      std::size_t want_nan = 0;
      const auto want = reference_selection(own, c.first_key, n, c.k, want_nan);
      const auto at = split.positions.begin() + static_cast<std::ptrdiff_t>(r * c.k);
      ASSERT_EQ(std::vector(at, at + static_cast<std::ptrdiff_t>(c.k)), want)
          << "row " << r << " of " << n << ", k " << c.k << ", from " << c.first_key;
      EXPECT_EQ(static_cast<std::size_t>(split.num_nan[r]), 7 + (n <= c.k ? 0 : want_nan)) << r;
      for (std::size_t i = 0; i < c.k; ++i) {
        const auto position = static_cast<std::size_t>(want[i]);
        ASSERT_EQ(split.slots[r * c.k + i], want[i] < 0 ? -1 : pages.slot(r % 2, position));
      }
    }
  }

  /// A row of each length, scored by `score(position)`.
  Case rows_of(std::vector<std::int32_t> num_keys, const std::function<float(std::size_t)>& score) {
    Case c;
    c.num_keys = std::move(num_keys);
    for (std::size_t r = 0; r < c.num_keys.size(); ++r) {
      for (std::size_t i = 0; i < c.stride; ++i) c.scores.push_back(score(i));
    }
    return c;
  }
};

/// Lengths around the borders of pieces, and short ones that select all.
std::vector<std::int32_t> ragged() {
  const int piece = kPiece;
  return {1,
          2,
          64,
          65,
          66,
          piece - 1,
          piece,
          piece + 1,
          piece + 2,
          2 * piece,
          3 * piece - 1,
          4 * piece + 1,
          static_cast<int>(kStride)};
}

TEST_F(DeviceSelectSplit, RandomScoresInRowsOfEveryLength) {
  for (const std::size_t first_key : {0U, 1U}) {
    for (const std::size_t k : {1U, 64U, 2048U, 5000U}) {
      Case c = rows_of(ragged(), [&](std::size_t) { return random_floats(1, rng)[0]; });
      c.first_key = first_key;
      c.k = k;
      expect_all_alike(c, "random");
    }
  }
}

TEST_F(DeviceSelectSplit, FewValuesZerosInfinitiesAndNan) {
  const float values[] = {0.0F, -0.0F, 1.0F, -1.0F, 0.5F, kInf, -kInf, kNan, 1e-40F};
  for (const std::size_t k : {64U, 2048U}) {
    Case c = rows_of(ragged(), [&](std::size_t) { return values[rng() % std::size(values)]; });
    c.first_key = 1;
    c.k = k;
    expect_all_alike(c, "few values");
  }
  const auto mostly_nan = [&](std::size_t) { return rng() % 400 == 0 ? -kInf : kNan; };
  expect_all_alike(rows_of(ragged(), mostly_nan), "NaN and -inf are equal");
}

TEST_F(DeviceSelectSplit, TiesAreTheLowestPositionsAcrossPieces) {
  expect_all_alike(rows_of(ragged(), [](std::size_t) { return 0.25F; }), "all equal");
  // The threshold's equals lie around the borders of pieces; few are above it.
  Case c = rows_of({static_cast<int>(kStride), 3 * kPiece + 1, 2 * kPiece}, [](std::size_t i) {
    if (i % kPiece < 3 || i % kPiece >= kPiece - 3) return 3.0F;
    return i % 1500 == 700 ? 4.0F : 1.0F;
  });
  for (c.k = 2; c.k < 40; c.k += 3) expect_all_alike(c, "borders");
}

TEST_F(DeviceSelectSplit, EveryDigitMayBeTheOneThatDecides) {
  constexpr std::size_t kBest = 64;
  // The best end where the first, the second or the last digit of the order image changes.
  for (const std::uint32_t step : {1U << 22, 1U << 12, 1U << 10, 1U << 9, 1U}) {
    const std::uint32_t bits = 0x3f800000U;
    const auto score = [&](std::size_t i) {
      return std::bit_cast<float>(i % 211 == 5 && i / 211 < kBest ? bits + step : bits);
    };
    Case c = rows_of({static_cast<int>(kStride)}, score);
    for (const std::size_t k : {kBest - 1, kBest, kBest + 1}) {
      c.k = k;
      expect_all_alike(c, "step");
    }
  }
}

TEST_F(DeviceSelectSplit, OnlyFewRowsOfManyKeysAreSplit) {
  const auto is_split = [&](std::size_t rows, std::size_t stride) {
    Case c;
    c.stride = stride;
    c.k = 2;
    c.num_keys.assign(rows, 3);
    c.scores.assign(rows * stride, 1.0F);
    const PagedSequences pages(device(), 64, 0, {64, 64}, rng);
    const DeviceArray<std::uint32_t> workspace(device(), 4 * 64 * 5 * 1028);
    run(c, pages, workspace.data());
    const auto words = workspace.download();
    return std::ranges::any_of(words, [](std::uint32_t word) { return word != 0xFFFFFFFFU; });
  };
  EXPECT_TRUE(is_split(1, kSelectSplitKeysMin));
  EXPECT_TRUE(is_split(kSelectSplitRowsMax, kSelectSplitKeysMin));
  EXPECT_FALSE(is_split(kSelectSplitRowsMax + 1, kSelectSplitKeysMin));
  EXPECT_FALSE(is_split(1, kSelectSplitKeysMin - 1));
  EXPECT_EQ(select_workspace_words(3, kSelectSplitKeysMin - 1), 0U);
}

TEST_F(DeviceSelectSplit, SlotsAndCountsOfNanMayBeLeftOut) {
  Case c = rows_of({static_cast<int>(kStride)},
                   [&](std::size_t i) { return i % 5 == 0 ? kNan : random_floats(1, rng)[0]; });
  const DeviceArray<float> scores(device(), c.scores);
  const DeviceArray<std::int32_t> num_keys(device(), c.num_keys);
  const DeviceArray<std::uint32_t> workspace(device(), select_workspace_words(1, kStride));
  std::size_t num_nan = 0;
  const auto want = reference_selection(c.scores, 0, kStride, c.k, num_nan);
  for (std::uint32_t* const at : {workspace.data(), static_cast<std::uint32_t*>(nullptr)}) {
    const DeviceArray<std::int32_t> positions(device(), c.k);
    const DeviceArray<std::int32_t> num_selected(device(), 1);
    device().select({scores.data(),
                     kStride,
                     {},
                     num_keys.data(),
                     0,
                     c.k,
                     positions.data(),
                     nullptr,
                     num_selected.data(),
                     nullptr,
                     1,
                     at});
    EXPECT_EQ(positions.download(), want);
  }
}

}  // namespace
}  // namespace ponder::kernels
