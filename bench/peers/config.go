package peers

// dovecotConfig keeps processes for further sessions, syncs mail to the disk, counts the
// quota from Dovecot's index (which Dovecot recommends over Maildir++), and switches off
// what POP3 does not need.
const dovecotConfig = `
base_dir = @DIR@/run
state_dir = @DIR@/state
instance_name = mailsrv-bench
log_path = @LOG@
listen = 127.0.0.1
protocols = pop3 lmtp
ssl = yes
ssl_cert = <@CERT@
ssl_key = <@KEY@
disable_plaintext_auth = no
auth_mechanisms = plain
auth_cache_size = 16M
default_vsz_limit = 1G
default_client_limit = 4000
default_process_limit = 4000

passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%u @DIR@/users
}
userdb {
  driver = passwd-file
  args = username_format=%u @DIR@/users
}
mail_location = maildir:~/Maildir
mail_fsync = optimized
maildir_very_dirty_syncs = yes
mail_plugins = quota
plugin {
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:storage=1G
}
namespace inbox {
  inbox = yes
}
protocol pop3 {
  mail_max_userip_connections = 0
  pop3_no_flag_updates = yes
}
service anvil {
  client_limit = 12000
}
service auth {
  client_limit = 12000
}
service pop3-login {
  inet_listener pop3 {
    port = @POP3@
  }
  inet_listener pop3s {
    port = 0
  }
  service_count = 0
  process_min_avail = 2
  process_limit = 2
}
service pop3 {
  service_count = 1000
  process_min_avail = 16
  process_limit = 4000
}
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = @LMTP@
  }
  service_count = 0
  process_min_avail = 16
  process_limit = 64
}
`

// postfixMain has no limits per client, no DNS look-ups and no delays for a long queue, and
// does not change line lengths or content.
const postfixMain = `
compatibility_level = 3.6
queue_directory = @DIR@/spool
data_directory = @DIR@/postfix-data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = @DIR@/postfix.log
maillog_file_prefixes = @DIR@
myhostname = @HOST@
mydestination =
mynetworks =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
local_recipient_maps =
local_transport = error:no local mail here
virtual_mailbox_domains = @DOMAIN@
virtual_mailbox_maps = hash:@DIR@/postfix/mailboxes
virtual_transport = lmtp:inet:@LMTP@
lmtp_destination_concurrency_limit = 16
lmtp_destination_recipient_limit = 50
lmtp_dns_support_level = disabled
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions =
local_header_rewrite_clients =
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_message_rate_limit = 0
smtpd_client_recipient_rate_limit = 0
smtpd_client_new_tls_session_rate_limit = 0
smtpd_client_auth_rate_limit = 0
smtpd_tls_security_level = may
smtpd_tls_chain_files = @KEY@, @CERT@
smtpd_tls_loglevel = 0
message_size_limit = 52428800
virtual_mailbox_limit = 0
in_flow_delay = 0
default_process_limit = 200
biff = no
smtputf8_enable = no
`

const postfixMaster = `
@SMTP@    inet  n  -  n  -      -  smtpd
pickup    unix  n  -  n  60     1  pickup
cleanup   unix  n  -  n  -      0  cleanup
qmgr      unix  n  -  n  300    1  qmgr
tlsmgr    unix  -  -  n  1000?  1  tlsmgr
rewrite   unix  -  -  n  -      -  trivial-rewrite
bounce    unix  -  -  n  -      0  bounce
defer     unix  -  -  n  -      0  bounce
trace     unix  -  -  n  -      0  bounce
verify    unix  -  -  n  -      1  verify
flush     unix  n  -  n  1000?  0  flush
proxymap  unix  -  -  n  -      -  proxymap
proxywrite unix -  -  n  -      1  proxymap
smtp      unix  -  -  n  -      -  smtp
relay     unix  -  -  n  -      -  smtp
showq     unix  n  -  n  -      -  showq
error     unix  -  -  n  -      -  error
retry     unix  -  -  n  -      -  error
lmtp      unix  -  -  n  -      -  lmtp
anvil     unix  -  -  n  -      1  anvil
scache    unix  -  -  n  -      1  scache
postlog   unix-dgram n - n -    1  postlogd
`
