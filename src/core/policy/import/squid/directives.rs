//! The directives of Squid, 2.6 to 7, and why those that no list can say are left out.

/// Why they are left out, and their names.
const LEFT_OUT: [(&str, &str); 23] = [
    (
        "there is no cache",
        "broken_vary_encoding cache cache_dir cache_mem cache_miss_revalidate cache_replacement_policy \
         cache_store_log cache_swap_high cache_swap_log cache_swap_low cache_swap_state cache_vary \
         collapsed_forwarding collapsed_forwarding_access digest_bits_per_entry digest_generation \
         digest_rebuild_chunk_percentage digest_rebuild_period digest_rewrite_period digest_swapout_chunk_size \
         diskd_program external_refresh_check ie_refresh ignore_ims_on_miss max_open_disk_fds max_stale \
         maximum_object_size maximum_object_size_in_memory memory_cache_mode memory_cache_shared \
         memory_replacement_policy minimum_expiry_time minimum_object_size negative_ttl no_cache offline_mode \
         paranoid_hit_validation quick_abort_max quick_abort_min quick_abort_pct range_offset_limit \
         read_ahead_gap refresh_all_ims refresh_pattern refresh_stale_hit reload_into_ims send_hit \
         shared_transient_entries_limit store_avg_object_size store_dir_select_algorithm store_id_access \
         store_id_bypass store_id_children store_id_extras store_id_program store_miss store_objects_per_bucket \
         storeurl_access storeurl_rewrite_children storeurl_rewrite_concurrency storeurl_rewrite_program \
         unlinkd_program update_headers vary_ignore_expire",
    ),
    (
        "there are no parent proxies: every request goes to its destination",
        "always_direct background_ping_rate cache_peer cache_peer_access cache_peer_domain dead_peer_timeout \
         forward_max_tries hierarchy_stoplist icp_query_timeout maximum_icp_query_timeout mcast_groups \
         mcast_icp_query_timeout mcast_miss_addr mcast_miss_encode_key mcast_miss_port mcast_miss_ttl \
         minimum_direct_hops minimum_direct_rtt minimum_icp_query_timeout neighbor_type_domain netdb_filename \
         netdb_high netdb_low netdb_ping_period never_direct nonhierarchical_direct peer_connect_timeout \
         prefer_direct query_icmp test_reachability",
    ),
    (
        "there is no ICP, HTCP, SNMP or WCCP",
        "htcp_access htcp_clr_access htcp_port icp_access icp_hit_stale icp_port log_icp_queries snmp_access \
         snmp_incoming_address snmp_outgoing_address snmp_port udp_incoming_address udp_outgoing_address \
         wccp2_address wccp2_assignment_method wccp2_forwarding_method wccp2_rebuild_wait wccp2_return_method \
         wccp2_router wccp2_service wccp2_service_info wccp2_weight wccp_address wccp_router wccp_version",
    ),
    (
        "there is no authentication",
        "auth_param auth_schemes authenticate_cache_garbage_interval authenticate_ip_shortcircuit_access \
         authenticate_ip_shortcircuit_ttl authenticate_ip_ttl authenticate_ttl ident_lookup_access ident_timeout",
    ),
    ("no program is asked about requests", "external_acl_type"),
    (
        "URLs are not rewritten",
        "location_rewrite_access location_rewrite_children location_rewrite_concurrency location_rewrite_program \
         redirect_children redirect_concurrency redirect_program redirect_rewrites_host_header redirector_access \
         redirector_bypass url_rewrite_access url_rewrite_bypass url_rewrite_children url_rewrite_concurrency \
         url_rewrite_extras url_rewrite_host_header url_rewrite_program url_rewrite_timeout",
    ),
    (
        "TLS is not decrypted",
        "on_unsupported_protocol ssl_bump ssl_engine ssl_unclean_shutdown sslcrtd_children sslcrtd_program \
         sslcrtvalidator_children sslcrtvalidator_program sslpassword_program sslproxy_cafile sslproxy_capath \
         sslproxy_cert_adapt sslproxy_cert_error sslproxy_cert_sign sslproxy_cert_sign_hash sslproxy_cipher \
         sslproxy_client_certificate sslproxy_client_key sslproxy_flags sslproxy_foreign_intermediate_certs \
         sslproxy_options sslproxy_session_cache_size sslproxy_session_ttl sslproxy_version tls_key_log \
         tls_outgoing_options",
    ),
    ("see `bind` of the listener", "accept_filter ftp_port http_port https_port"),
    ("see `proxy_protocol.trusted`", "proxy_protocol_access"),
    ("X-Forwarded-For is not read", "acl_uses_indirect_client follow_x_forwarded_for"),
    (
        "contents are not inspected",
        "adaptation_access adaptation_masterx_shared_names adaptation_meta adaptation_send_client_ip \
         adaptation_send_username adaptation_service_chain adaptation_service_iteration_limit \
         adaptation_service_set adaptation_uses_indirect_client ecap_enable ecap_service esi_parser \
         icap_206_enable icap_access icap_class icap_client_username_encode icap_client_username_header \
         icap_connect_timeout icap_default_options_ttl icap_enable icap_io_timeout icap_persistent_connections \
         icap_preview_enable icap_preview_size icap_retry icap_retry_limit icap_send_client_ip \
         icap_send_client_username icap_service icap_service_failure_limit icap_service_revival_delay \
         icap_uses_indirect_client loadable_modules",
    ),
    (
        "there are no delay pools; see `limits`",
        "client_delay_access client_delay_initial_bucket_level client_delay_parameters client_delay_pools \
         delay_access delay_class delay_initial_bucket_level delay_parameters delay_pool_uses_indirect_client \
         delay_pools response_delay_pool response_delay_pool_access",
    ),
    (
        "see `limits`",
        "client_db client_ip_max_connections client_request_buffer_max_size incoming_rate max_filedescriptors \
         reply_body_max_size reply_header_max_size request_body_max_size request_header_max_size",
    ),
    (
        "see `timeouts`",
        "client_idle_pconn_timeout client_lifetime client_persistent_connections connect_retries connect_timeout \
         detect_broken_pconn forward_timeout ftp_client_idle_timeout half_closed_clients \
         happy_eyeballs_connect_gap happy_eyeballs_connect_limit happy_eyeballs_connect_timeout pconn_lifetime \
         pconn_timeout persistent_connection_after_error persistent_request_timeout read_timeout \
         request_start_timeout request_timeout server_idle_pconn_timeout server_pconn_for_nonretriable \
         server_persistent_connections write_timeout",
    ),
    (
        "see `access_log`",
        "access_log buffered_logs cache_access_log client_netmask emulate_httpd_log forward_log icap_log \
         log_access log_fqdn log_icap log_ip_on_direct log_mime_hdrs log_uses_indirect_client logfile_daemon \
         logfile_rotate logformat referer_log stats_collection strip_query_terms useragent_log",
    ),
    (
        "see `dns`",
        "allow_underscore append_domain balance_on_multiple_ip cache_dns_program check_hostnames dns_children \
         dns_defnames dns_multicast_local dns_nameservers dns_packet_max dns_retransmit_interval dns_testnames \
         dns_timeout dns_v4_fallback dns_v4_first fqdncache_size hosts_file ignore_unknown_nameservers \
         ipcache_high ipcache_low ipcache_size negative_dns_ttl positive_dns_ttl",
    ),
    (
        "the fields of this hop are removed and `Via` is added; no others change",
        "broken_posts forwarded_for header_access header_replace http_accel_surrogate_remote \
         http_upgrade_request_protocols httpd_accel_surrogate_id reply_header_access reply_header_add \
         reply_header_replace request_header_access request_header_add request_header_replace via",
    ),
    (
        "see `via_name` of the listener",
        "hostname_aliases httpd_suppress_version_string unique_hostname visible_hostname",
    ),
    (
        "what a refused client gets cannot be chosen",
        "deny_info email_err_data err_html_text err_page_stylesheet error_default_language error_directory \
         error_log_languages error_map global_internal_static icon_directory mime_table short_icon_urls",
    ),
    (
        "other schemes than http:// are refused here",
        "as_whois_server ftp_eprt ftp_epsv ftp_epsv_all ftp_list_width ftp_passive ftp_sanitycheck \
         ftp_telnet_protocol ftp_user wais_relay_host wais_relay_port",
    ),
    (
        "it is about Squid's own process",
        "announce_file announce_host announce_period announce_port cache_effective_group cache_effective_user \
         cache_log cache_log_message cache_mgr cachemgr_passwd chroot coredump_dir cpu_affinity_map debug_options \
         force_request_body_continuation high_memory_warning high_page_fault_warning high_response_time_warning \
         hopeless_kid_revival_delay incoming_dns_average incoming_http_average incoming_icp_average \
         incoming_tcp_average incoming_udp_average mail_from mail_program max_icp_count memory_pools \
         memory_pools_limit min_dns_poll_cnt min_http_poll_cnt min_icp_poll_cnt min_tcp_poll_cnt min_udp_poll_cnt \
         pid_filename pinger_enable pinger_program shared_memory_locking shutdown_lifetime sleep_after_fork umask \
         windows_ipaddrchangemonitor workers zero_buffers",
    ),
    (
        "it is about Squid's own connections and parser",
        "chunked_request_body_max_size client_dst_passthru clientside_mark clientside_tos eui_lookup \
         extension_methods host_verify_strict httpd_accel_no_pmtu_disc ignore_expect_100 mark_client_connection \
         mark_client_packet maximum_single_addr_tries note pipeline_prefetch qos_flows \
         relaxed_header_parser request_entities retry_on_error server_http11 spoof_client_ip tcp_outgoing_address \
         tcp_outgoing_ds tcp_outgoing_dscp tcp_outgoing_mark tcp_outgoing_tos tcp_recv_bufsize \
         tproxy_uses_indirect_client upgrade_http0.9 uri_whitespace zph_local zph_mode zph_option zph_parent \
         zph_sibling",
    ),
    ("a value in quotes is a file", "configuration_includes_quoted_values"),
];

/// Those that are read, or judged by [`Refusals`](super::refusals::Refusals) alone.
const READ: &str =
    "acl adapted_http_access else endif http_access http_access2 http_reply_access if include miss_access";

/// Why a directive is left out; `None`: Squid has none of this name that is known here.
pub(super) fn left_out(name: &str) -> Option<&'static str> {
    LEFT_OUT.iter().find(|(_, names)| has(names, name)).map(|(why, _)| *why)
}

pub(super) fn is_known(name: &str) -> bool {
    has(READ, name) || left_out(name).is_some()
}

fn has(names: &str, name: &str) -> bool {
    names.split_ascii_whitespace().any(|known| known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_directive_has_one_reason() {
        let all = || LEFT_OUT.iter().map(|(_, names)| *names).chain([READ]).flat_map(str::split_ascii_whitespace);
        let mut names: Vec<&str> = all().collect();
        names.sort_unstable();
        let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert_eq!(twice, [[""; 2]; 0]);
        assert!(all().count() > 300 && all().all(is_known));
        assert_eq!(left_out("cache_log"), Some("it is about Squid's own process"));
        for unknown in ["htp_access", "HTTP_ACCESS", "cache_", "acl ", ""] {
            assert!(!is_known(unknown), "{unknown}");
        }
    }
}
