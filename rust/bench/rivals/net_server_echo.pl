# Echo server on Net::Server: personality Fork (a process a connection) or
# PreFork (a pool that serves many connections each), as the first argument
# says. Defaults are kept except the name look-ups and the log, which are off,
# and in PreFork the pool, which is large enough for the clients measured.
#
# Usage: net_server_echo.pl Fork|PreFork HOST PORT
use strict;
use warnings;

my ($personality, $host, $port) = @ARGV;
die "Usage: $0 Fork|PreFork HOST PORT\n" unless defined $port && $personality =~ /^(Fork|PreFork)$/;
require "Net/Server/$personality.pm";
our @ISA = ("Net::Server::$personality");

sub process_request {
    my $conn = shift->{server}{client};
    while (sysread $conn, my $data, 4096) {
        syswrite $conn, $data;
    }
}

my %pool = $personality eq 'PreFork'
    ? (min_servers => 20, max_servers => 100, min_spare_servers => 10, max_spare_servers => 50)
    : (max_servers => 1000);
@ARGV = ();
__PACKAGE__->run(
    host => $host, port => $port, listen => 1024, log_level => 0, ipv => 4, no_client_stdout => 1, %pool,
);
