#include "context/shared_conversation.h"

#include <gtest/gtest.h>

#include <utility>

namespace ponder::context {
namespace {

Message says(const char* words) {
  Message message;
  message.content = words;
  return message;
}

TEST(SharedConversation, CopiesShareTheirMessagesUntilOneOfThemChanges) {
  SharedConversation history;
  history.push_back(says("one"));
  const SharedConversation request = history;
  EXPECT_EQ(&request[0], &history[0]);
  history.push_back(says("two"));
  history.edit()[0].content = "changed";
  ASSERT_EQ(request.size(), 1U);
  EXPECT_EQ(request[0].content, "one");
  ASSERT_EQ(history.size(), 2U);
  EXPECT_EQ(history.front().content, "changed");
}

TEST(SharedConversation, ASoleHolderChangesItsMessagesInPlace) {
  SharedConversation history(Conversation{says("one")});
  const Message* before = &history[0];
  { const SharedConversation request = history; }
  history.edit()[0].content = "two";
  EXPECT_EQ(&history[0], before);
}

TEST(SharedConversation, WhatWasMovedFromStillHasItsMessages) {
  SharedConversation history(Conversation{says("one")});
  SharedConversation taken = std::move(history);
  taken.push_back(says("two"));
  EXPECT_EQ(taken.size(), 2U);
  EXPECT_EQ(history.size(), 1U);  // NOLINT(bugprone-use-after-move)
}

}  // namespace
}  // namespace ponder::context
