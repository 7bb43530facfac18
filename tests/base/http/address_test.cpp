#include <gtest/gtest.h>

#include "base/http/address_policy.h"
#include "base/http/http_client.h"
#include "base/http/redirect.h"
#include "base/http/request_check.h"

namespace ponder::http {
namespace {

Url url_of(const char* text) {
  auto url = parse_url(text);
  EXPECT_TRUE(url) << text << ": " << url.error().message;
  return *url;
}

bool is_public(const char* text) { return is_public_address(boost::asio::ip::make_address(text)); }

TEST(PublicAddress, WhatOnlyThisMachineOrItsNetworkReachesIsNotPublic) {
  for (const char* address :
       {"127.0.0.1", "127.255.255.255", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1",
        "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255", "::1", "::", "fe80::1",
        "fc00::1", "fdff::1", "fec0::1"}) {
    EXPECT_FALSE(is_public(address)) << address;
  }
}

TEST(PublicAddress, MetadataServicesOfCloudsAreNotPublic) {
  for (const char* address : {"169.254.169.254", "169.254.170.2", "100.100.100.200",
                              "168.63.129.16", "192.0.0.192", "fd00:ec2::254"}) {
    EXPECT_FALSE(is_public(address)) << address;
  }
}

TEST(PublicAddress, MulticastReservedAndDocumentationAddressesAreNotPublic) {
  for (const char* address :
       {"224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1",
        "198.19.255.255", "198.51.100.1", "203.0.113.1", "192.88.99.1", "ff02::1", "100::1",
        "2001:db8::1", "2001:10::1", "3fff::1", "4000::1"}) {
    EXPECT_FALSE(is_public(address)) << address;
  }
}

TEST(PublicAddress, AnIpv6FormOfAnIpv4AddressIsWhatTheIpv4AddressIs) {
  for (const char* address :
       {"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
        "::127.0.0.1", "2002:7f00:1::", "64:ff9b:1::1", "2001:0:7f00:1::"}) {
    EXPECT_FALSE(is_public(address)) << address;
  }
  EXPECT_TRUE(is_public("::ffff:8.8.8.8"));
  EXPECT_TRUE(is_public("64:ff9b::808:808"));
}

TEST(PublicAddress, NeighboursOfSpecialNetworksArePublic) {
  for (const char* address :
       {"1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
        "128.0.0.0", "169.253.255.255", "172.15.255.255", "172.32.0.0", "192.167.255.255",
        "198.17.255.255", "198.20.0.0", "223.255.255.255", "168.63.129.17", "2606:4700::1111",
        "2001:4860:4860::8888", "2003::1", "3ffe::1"}) {
    EXPECT_TRUE(is_public(address)) << address;
  }
}

TEST(AddressPolicy, AnExemptionIsForTheHostAsTheAddressNamesIt) {
  AddressPolicy policy;
  policy.is_public_only = true;
  policy.exempt = {"127.0.0.1:8080", "Docs.Example.org", "[::1]"};
  const auto loopback = boost::asio::ip::make_address("127.0.0.1");
  const auto loopback6 = boost::asio::ip::make_address("::1");
  EXPECT_TRUE(policy.admits(url_of("http://127.0.0.1:8080/"), loopback));
  EXPECT_FALSE(policy.admits(url_of("http://127.0.0.1:8081/"), loopback));
  EXPECT_TRUE(policy.admits(url_of("https://docs.example.org./x"), loopback));
  EXPECT_TRUE(policy.admits(url_of("http://[0:0::1]:7/"), loopback6));
  // A name that a stranger lets resolve to an exempt address is not that address.
  EXPECT_FALSE(policy.admits(url_of("http://rebound.example:8080/"), loopback));
}

TEST(AddressPolicy, AnAllowListTakesWholeNamesNotBeginningsOrEndings) {
  AddressPolicy policy;
  policy.allowed = {"api.example.org", "*.wiki.org", "deep.org:8443"};
  for (const char* good :
       {"https://api.example.org/", "https://API.Example.Org./", "https://a.wiki.org/",
        "https://a.b.wiki.org/", "https://deep.org:8443"}) {
    EXPECT_TRUE(policy.check_host(url_of(good))) << good;
  }
  for (const char* bad : {"https://api.example.org.evil.net/", "https://xapi.example.org/",
                          "https://example.org/", "https://wiki.org/", "https://evilwiki.org/",
                          "https://deep.org/", "https://evil.net/api.example.org"}) {
    const Status status = policy.check_host(url_of(bad));
    ASSERT_FALSE(status) << bad;
    EXPECT_EQ(status.error().code, Errc::invalid_argument);
  }
}

TEST(HttpUrl, WhatAnAddressCannotHoldIsWrittenAsPercent) {
  EXPECT_EQ(url_of(" https://Example.org/a b/\xC3\xBC?q=\"x\"&y=[1]&z=100%#frag ").text(),
            "https://example.org/a%20b/%C3%BC?q=%22x%22&y=%5B1%5D&z=100%25");
  EXPECT_EQ(url_of("http://[2001:DB8::1]:8000/v1").text(), "http://[2001:db8::1]:8000/v1");
  EXPECT_EQ(url_of("http://h?q").text(), "http://h/?q");
  EXPECT_EQ(url_of("http://h/a/./b/../%7Ec/..%2Fd//e/.%2E").text(), "http://h/a/%7Ec/..%2Fd//");
  EXPECT_EQ(url_of("http://h/../..").text(), "http://h/");
}

TEST(HttpUrl, HostsThatWouldForgeAHeadOrHideAnotherHostAreRefused) {
  for (const char* bad : {"http://a%0d%0aX-Evil:1/",
                          "http://a\r\nb/",
                          "http://a%00b/",
                          "http://good.org\\@evil.net/",
                          "http://user@host/",
                          "http://user:pw@host/",
                          "http://@host/",
                          "http://m\xC3\xBCnchen.de/",
                          "http://a b/",
                          "http://host:80name/",
                          "https://use:80xample.org:8080/a",
                          "http://host:0/",
                          "http://host:65536/",
                          "http://host:99999999999/",
                          "http://[fe80::1%25eth0]/",
                          "http://[v1.x]/",
                          "javascript:alert(1)",
                          "file:///etc/passwd",
                          "//host/",
                          "gopher://h/",
                          "http:///x",
                          "http://a\tb/"}) {
    const auto url = parse_url(bad);
    ASSERT_FALSE(url) << bad << " became " << url->text();
    EXPECT_EQ(url.error().code, Errc::invalid_argument);
  }
  EXPECT_FALSE(parse_url("http://h/" + std::string(20'000, 'x')));
}

TEST(HttpUrl, ReferencesMeanWhatRfc3986Says) {
  const Url base = url_of("http://a/b/c/d;p?q");
  const std::pair<const char*, const char*> cases[] = {
      {"g", "http://a/b/c/g"},       {"./g", "http://a/b/c/g"},    {"/g", "http://a/g"},
      {"//g", "http://g/"},          {"?y", "http://a/b/c/d;p?y"}, {"g?y#s", "http://a/b/c/g?y"},
      {"../../../g", "http://a/g"},  {"", "http://a/b/c/d;p?q"},   {"https://x/", "https://x/"},
      {"g h", "http://a/b/c/g%20h"},
  };
  for (const auto& [reference, whole] : cases) {
    const auto url = resolve_url(base, reference);
    ASSERT_TRUE(url) << reference << ": " << url.error().message;
    EXPECT_EQ(url->text(), whole) << reference;
  }
  EXPECT_FALSE(resolve_url(base, "javascript:alert(1)"));
  EXPECT_FALSE(resolve_url(base, "//u@h/"));
}

TEST(HttpUrl, ValuesOfQueriesAreEncodedAndDecoded) {
  EXPECT_EQ(percent_encoded("a b&c=\xC3\xBC~"), "a%20b%26c%3D%C3%BC~");
  EXPECT_EQ(percent_decoded("a%20b%26%c3%Bc%zz%2"), "a b&\xC3\xBC%zz%2");
}

Response leading_to(int status, const char* place) {
  Response response;
  response.status = status;
  response.headers["location"] = place;
  return response;
}

Request with_secrets() {
  Request request("POST", url_of("https://a.example/x"));
  request.headers = {{"Authorization", "Bearer k"},
                     {"X-Subscription-Token", "k"},
                     {"Cookie", "k"},
                     {"Accept", "text/html"},
                     {"Content-Type", "text/plain"}};
  request.body = "body";
  return request;
}

TEST(HttpRedirect, SecretsDoNotGoToAnotherOrigin) {
  for (const char* place : {"https://b.example/", "https://a.example:8443/"}) {
    const auto next = redirected(with_secrets(), leading_to(307, place));
    ASSERT_TRUE(next) << next.error().message;
    EXPECT_EQ(next->url.text(), place);
    ASSERT_EQ(next->headers.size(), 2U);
    EXPECT_EQ(next->headers[0].first, "Accept");
    EXPECT_EQ(next->headers[1].first, "Content-Type");
  }
  EXPECT_EQ(redirected(with_secrets(), leading_to(307, "/y"))->headers.size(), 5U);
}

TEST(HttpRedirect, OnlySomeStatusesKeepTheMethodAndTheBody) {
  for (const int status : {301, 302, 303}) {
    const auto next = redirected(with_secrets(), leading_to(status, "/y"));
    EXPECT_EQ(next->method, "GET") << status;
    EXPECT_EQ(next->body, "") << status;
  }
  for (const int status : {307, 308}) {
    const auto next = redirected(with_secrets(), leading_to(status, "/y"));
    EXPECT_EQ(next->method, "POST") << status;
    EXPECT_EQ(next->body, "body") << status;
  }
}

TEST(HttpRedirect, NoneLeadsFromHttpsToHttpOrToAnotherScheme) {
  for (const char* place : {"http://a.example/", "ftp://a.example/", "file:///etc/passwd"}) {
    const auto next = redirected(with_secrets(), leading_to(302, place));
    ASSERT_FALSE(next) << place;
    EXPECT_EQ(next.error().code, Errc::invalid_argument);
  }
}

TEST(HttpRequest, NothingCanEndALineOrReplaceTheClientsOwnHeaders) {
  const Request plain("GET", url_of("http://h/"));
  ASSERT_TRUE(check_request(plain));
  const std::pair<const char*, const char*> bad_headers[] = {
      {"X-A", "b\r\nX-C: d"},
      {"X-A", "b\nc"},
      {"X\r\nY", "b"},
      {"", "b"},
      {"X A", "b"},
      {"X:A", "b"},
      {"Host", "evil"},
      {"content-length", "3"},
      {"Transfer-Encoding", "chunked"},
      {"Connection", "x"},
  };
  for (const auto& [name, value] : bad_headers) {
    Request request = plain;
    request.headers.emplace_back(name, value);
    EXPECT_FALSE(check_request(request)) << name << ": " << value;
  }
  Request null = plain;
  null.headers.emplace_back("X-A", std::string("a\0b", 3));
  EXPECT_FALSE(check_request(null));
  Request method = plain;
  method.method = "GET / HTTP/1.1\r\nX: y\r\n\r\nGET";
  EXPECT_FALSE(check_request(method));
  Request target = plain;
  target.url.target = "/ HTTP/1.1\r\nX: y";
  EXPECT_FALSE(check_request(target));
  Request host = plain;
  host.url.host = "a\r\nb";
  EXPECT_FALSE(check_request(host));
}

TEST(HttpUrl, AddressesAreTakenApartAndBadOnesAreNamed) {
  const auto url = parse_url("https://api.example.com/v1/chat?x=1");
  ASSERT_TRUE(url) << url.error().message;
  EXPECT_TRUE(url->is_tls);
  EXPECT_EQ(url->port, "443");
  EXPECT_EQ(url->target, "/v1/chat?x=1");
  EXPECT_EQ(url->authority(), "api.example.com");
  EXPECT_EQ(parse_url("http://[::1]:8000/v1")->authority(), "[::1]:8000");
  for (const char* bad : {"", "localhost:8000", "ftp://host/", "http://", "http://u:p@host/"}) {
    const auto parsed = parse_url(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_EQ(parsed.error().code, Errc::invalid_argument);
  }
}

}  // namespace
}  // namespace ponder::http
