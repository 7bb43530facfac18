// The bodies of Asio and Beast: with the separate-compilation macros no other unit compiles them.
#include <boost/asio/impl/src.hpp>
#include <boost/asio/ssl/impl/src.hpp>
#include <boost/beast/src.hpp>
