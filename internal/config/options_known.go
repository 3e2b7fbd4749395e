package config

import (
	"slices"
	"strings"
)

// known declares options of one section that files of Neutron hold and on which
// neutrino does not act, with the reason. A name that ends in "!" is a secret.
func known(section, reason, names string) []Option {
	var all []Option
	for n := range strings.FieldsSeq(names) {
		name, secret := strings.CutSuffix(n, "!")
		all = append(all, Option{Name: Name{section, name}, Kind: Opaque, Reason: reason, Secret: secret})
	}
	return all
}

func knownOptions() []Option {
	return slices.Concat(knownServer(), knownAgents(), knownPlugins(), knownMessaging(), knownServices())
}

func knownServer() []Option {
	const (
		builtIn  = "the controller is one built-in plug-in"
		serving  = "the HTTP server needs no such tuning"
		logging  = "logs are structured: see debug, use_json, log_file, log_dir"
		routing  = "a router is on one agent, which a built-in scheduler chooses; none is distributed"
		nova     = "Nova is not notified yet"
		always   = "always so in neutrino"
		schedule = "DHCP agents are chosen by load among those alive"
	)
	return slices.Concat(
		known(def, builtIn, `core_plugin service_plugins api_extensions_path api_paste_config ipam_driver external_dns_driver
			default_ipv4_subnet_pool default_ipv6_subnet_pool ipv6_pd_enabled vlan_transparent quota_driver
			default_availability_zones network_link_prefix setproctitle experimental`),
		known(def, always, `allow_overlapping_ips allow_bulk allow_pagination allow_sorting force_gateway_on_subnet
			filter_validation advertise_mtu mac_generation_retries mac_generation max_fixed_ips_per_port enable_traditional_dhcp
			dhcp_agent_notification use_tenant_network`),
		known(def, serving, `backlog retry_until_window tcp_keepidle wsgi_log_format wsgi_default_pool_size max_header_line
			max_request_body_size wsgi_keep_alive client_socket_timeout wsgi_server_debug api_workers rpc_workers
			rpc_state_report_workers http_retries run_external_periodic_tasks backdoor_port backdoor_socket log_options
			graceful_shutdown_timeout periodic_interval periodic_fuzzy_delay`),
		known(def, "neutrino needs no lock files", "lock_path"),
		known(def, logging, `verbose log_config_append log_config log_date_format log_format watch_log_file use_syslog
			use_syslog_rfc_format use_journal syslog_log_facility use_stderr use_eventlog log_rotate_interval
			log_rotate_interval_type max_logfile_count max_logfile_size_mb log_rotation_type logging_context_format_string
			logging_default_format_string logging_debug_format_suffix logging_exception_prefix logging_user_identity_format
			default_log_levels publish_errors instance_format instance_uuid_format rate_limit_interval rate_limit_burst
			rate_limit_except_level fatal_deprecations fatal_exception_format_errors log_color`),
		known(def, schedule, `network_scheduler_driver dhcp_load_type enable_new_agents network_auto_schedule
			allow_automatic_dhcp_failover enable_services_on_agents_with_admin_state_down rpc_resources_processing_step`),
		known(def, routing, `dvr_base_mac router_distributed enable_dvr host_dvr_for_dhcp router_scheduler_driver
			router_auto_schedule allow_automatic_l3agent_failover l3_ha max_l3_agents_per_router min_l3_agents_per_router
			l3_ha_net_cidr l3_ha_network_type l3_ha_network_physical_name
			allowed_conntrack_helpers loadbalancer_pool_scheduler_driver allow_automatic_lbaas_agent_failover`),
		known(def, nova, `notify_nova_on_port_status_changes notify_nova_on_port_data_changes send_events_interval nova_url
			nova_region_name nova_admin_username nova_admin_tenant_id nova_admin_tenant_name nova_admin_password!
			nova_admin_auth_url nova_ca_certificates_file nova_api_insecure
			notification_driver notification_topics default_notification_level default_publisher_id`),
		known("ssl", serving, "version ciphers"),
		known("database", "neutrino keeps its state in etcd: see [store]", `engine sqlite_synchronous sqlite_db backend connection!
			slave_connection! mysql_sql_mode mysql_enable_ndb mysql_wsrep_sync_wait connection_recycle_time idle_timeout
			min_pool_size max_pool_size max_retries retry_interval max_overflow connection_debug connection_trace pool_timeout
			use_db_reconnect db_retry_interval db_inc_retry_interval db_max_retry_interval db_max_retries connection_parameters
			synchronous_commit use_tpool asyncio_connection! asyncio_slave_connection!`),
		known("quotas", "quotas are one built-in driver; what they name does not exist here", `quota_driver quota_items track_quota_usage
			quota_rbac_policy quota_vip quota_pool quota_member quota_health_monitor quota_subnetpool
			quota_firewall quota_firewall_policy quota_firewall_rule quota_network_gateway quota_packet_filter quota_trunk
			quota_segment quota_route quota_router_route quota_loadbalancer quota_listener quota_healthmonitor`),
	)
}

func knownAgents() []Option {
	const (
		events  = "the agent acts on events, not by polling"
		stream  = "agents speak to the controller over [fabric]"
		noOVS   = "ports go into the bridges of bridge_mappings directly; there is no integration bridge and no tunnel"
		helper  = "neutrino speaks to the kernel itself and starts no helpers"
		dnsmasq = "DHCP is served by the agent itself, without dnsmasq"
		routing = "a router is on one agent, which a built-in scheduler chooses; none is distributed"
	)
	return slices.Concat(
		known("agent", events, "polling_interval minimize_polling ovsdb_monitor_respawn_interval veth_mtu"),
		known("agent", stream, "rpc_support_old_agents quitting_rpc_timeout log_agent_heartbeats"),
		known("agent", helper, `root_helper use_helper_for_ns_read root_helper_daemon comment_iptables_rules debug_iptables_rules
			use_random_fully check_child_processes check_child_processes_action check_child_processes_interval kill_scripts_path`),
		known("agent", noOVS, `tunnel_types vxlan_udp_port l2_population arp_responder prevent_arp_spoofing dont_fragment
			enable_distributed_routing drop_flows_on_start tunnel_csum baremetal_smartnic explicitly_egress_direct dscp
			dscp_inherit`),
		known("agent", "the agent has its extensions built in; QoS comes by binding:profile", `extensions`),
		known("agent", "rates are asked for per port", "ratelimit_up_mapping"),
		known("sriov_nic", "nothing is reported to Placement", `resource_provider_bandwidths resource_provider_hypervisors
			resource_provider_default_hypervisor resource_provider_inventory_defaults`),
		known("eswitch", "there is no eswitchd: the agent programs the NIC itself", `daemon_endpoint request_timeout retries
			backoff_rate`),
		known("daemon", "there is no eswitchd: set [eswitch] physical_interface_mappings", `socket_os_transport socket_os_port
			socket_os_addr socket_of_transport socket_of_port socket_of_addr fabrics default_timeout max_polling_count
			rootwrap_conf`),
		known("of", "there is no eswitchd", "start_of_agent of_agent_mappings"),
		known("securitygroup", "rules are OpenFlow, without ipset; ports on VFs are not filtered", "enable_ipset"),
		known("securitygroup", "frames that are neither ARP nor IP do not pass a port with port security", "permitted_ethertypes"),
		known("ovs", noOVS, `integration_bridge tunnel_bridge int_peer_patch_port tun_peer_patch_port local_ip
			resource_provider_bandwidths resource_provider_hypervisors resource_provider_packet_processing_without_direction
			resource_provider_packet_processing_with_direction resource_provider_default_hypervisor
			resource_provider_inventory_defaults resource_provider_packet_processing_inventory_defaults
			vhostuser_socket_dir of_listen_address of_listen_port of_connect_timeout of_request_timeout of_inactivity_probe
			openflow_processed_per_port ovsdb_debug ovsdb_timeout
			bridge_mac_table_size igmp_snooping_enable igmp_flood igmp_flood_reports igmp_flood_unregistered qos_meter_bandwidth
			tenant_network_type network_vlan_ranges tunnel_id_ranges enable_tunneling tunnel_type tunnel_types use_veth_interconnection
			ovsdb_interface of_interface dont_fragment disable_packet_marking`),
		known("linux_bridge", "neutrino has no Linux bridge agent", "physical_interface_mappings bridge_mappings"),
		known("vxlan", "neutrino has no Linux bridge agent", `enable_vxlan ttl tos vxlan_group local_ip udp_srcport_min
			udp_srcport_max udp_dstport l2_population arp_responder multicast_ranges`),
		known("macvtap", "name NICs in [sriov_nic] physical_device_mappings", "physical_interface_mappings"),
		known("dhcp", dnsmasq, "enable_ipv6 dhcp_renewal_time dhcp_rebinding_time"),
		known(def, dnsmasq, `resync_interval resync_throttle dhcp_driver dhcp_confs dnsmasq_config_file dnsmasq_base_log_dir
			dnsmasq_local_resolv dnsmasq_lease_max dnsmasq_enable_addr6_list dhcp_broadcast_reply dhcp_delete_namespaces
			num_sync_threads bulk_reload_interval use_namespaces ovs_use_veth ovs_integration_bridge interface_driver enable_metadata_network`),
		known(def, routing, `agent_mode metadata_port handle_internal_only_routers ipv6_gateway prefix_delegation_driver
			enable_metadata_proxy metadata_access_mark external_ingress_mark radvd_user cleanup_on_shutdown keepalived_use_no_track
			ha_confs_path ha_vrrp_auth_type ha_vrrp_auth_password! ha_vrrp_advert_int ha_keepalived_state_change_server_threads
			ha_vrrp_health_check_interval pd_confs vendor_pen ra_confs min_rtr_adv_interval max_rtr_adv_interval
			external_network_bridge gateway_external_network_id router_id router_delete_namespaces l3_agent_manager`),
		known(def, "the metadata proxy is a part of the agent", `metadata_proxy_socket metadata_proxy_socket_mode metadata_proxy_user metadata_proxy_group
			metadata_workers metadata_backlog`),
	)
}

func knownPlugins() []Option {
	return slices.Concat(
		known("ml2_type_vxlan", "VXLAN networks are allocated, but nothing carries them yet", "vxlan_group"),
		known("ml2_type_gre", "there is no GRE type driver", "tunnel_id_ranges"),
		known("ml2_type_geneve", "there is no Geneve type driver", "vni_ranges max_header_size"),
		known("ml2", "ports on VFs are programmed by the host's agent", "supported_pci_vendor_devs sriov_agent_required"),
		known("ml2_sriov", "every SR-IOV NIC is served, by its agent", "supported_pci_vendor_devs agent_required"),
		known("mlnx", "use [ml2_type_vlan] and [ml2] instead of the old monolithic plug-in", `tenant_network_type
			network_vlan_ranges physical_network_type_mappings physical_network_type client_id_hardware`),
		known("sdn", "there is no SDN controller beside neutrino", `url domain token! timeout sync_timeout retry_count
			maintenance_interval maintenance_retry_timeout maintenance_cleanup_interval bind_normal_ports
			bind_normal_ports_physnets physical_networks cert_verify username password!`),
		known("l2pop", "nothing floods towards tunnels", "agent_boot_time"),
		known("ovn", "neutrino does not drive OVN", `ovn_nb_connection ovn_sb_connection ovn_nb_private_key ovn_nb_certificate
			ovn_nb_ca_cert ovn_sb_private_key ovn_sb_certificate ovn_sb_ca_cert neutron_sync_mode ovn_l3_mode ovn_l3_scheduler
			enable_distributed_floating_ip ovn_metadata_enabled vhost_sock_dir ovn_emit_need_to_frag dns_servers
			ovn_dhcp4_global_options ovn_dhcp6_global_options ovsdb_connection_timeout ovsdb_probe_interval
			disable_ovn_dhcp_for_baremetal_ports allow_stateless_action_supported`),
		known("network_log", "logging of packets does not exist yet", "rate_limit burst_limit local_output_log_base"),
		known("service_providers", "services beside ML2 do not exist yet", "service_provider"),
		known("experimental", "neutrino has no such driver", "linuxbridge"),
		known("fwaas", "services beside ML2 do not exist yet", "enabled driver agent_version"),
	)
}

func knownMessaging() []Option {
	const stream = "agents speak to the controller over [fabric]; there is no message bus yet"
	rabbit := `rabbit_host rabbit_port rabbit_hosts rabbit_use_ssl rabbit_userid rabbit_password! rabbit_login_method
		rabbit_virtual_host rabbit_retry_interval rabbit_retry_backoff rabbit_interval_max rabbit_max_retries rabbit_ha_queues
		rabbit_quorum_queue rabbit_quorum_delivery_limit rabbit_transient_queues_ttl rabbit_transient_quorum_queue
		rabbit_qos_prefetch_count rabbit_durable_queues amqp_durable_queues amqp_auto_delete fake_rabbit kombu_ssl_version
		kombu_ssl_keyfile kombu_ssl_certfile kombu_ssl_ca_certs kombu_reconnect_delay kombu_compression
		kombu_missing_consumer_retry_timeout kombu_failover_strategy heartbeat_timeout_threshold heartbeat_rate`
	return slices.Concat(
		known(def, stream, rabbit+` rpc_backend rpc_conn_pool_size conn_pool_min_size conn_pool_ttl executor_thread_pool_size
			rpc_response_timeout rpc_response_max_timeout rpc_cast_timeout rpc_thread_pool_size transport_url! control_exchange
			rpc_ping_enabled allowed_rpc_exception_modules qpid_hostname qpid_port qpid_hosts qpid_username qpid_password!
			qpid_sasl_mechanisms qpid_heartbeat qpid_protocol qpid_tcp_nodelay qpid_topology_version amqp_rpc_single_reply_queue
			rpc_zmq_bind_address rpc_zmq_matchmaker rpc_zmq_port rpc_zmq_contexts rpc_zmq_topic_backlog rpc_zmq_ipc_dir
			rpc_zmq_host matchmaker_heartbeat_freq matchmaker_heartbeat_ttl notify_notification_topic`),
		known("oslo_messaging_rabbit", stream, rabbit+` ssl ssl_version ssl_key_file ssl_cert_file ssl_ca_file
			ssl_enforce_hostname_verification ssl_enforce_fips_mode heartbeat_in_pthread rabbit_quroum_max_memory_length
			rabbit_quroum_max_memory_bytes rabbit_quorum_max_memory_length rabbit_quorum_max_memory_bytes direct_mandatory_flag
			enable_cancel_on_failover rabbit_stream_fanout use_queue_manager hostname processname rpc_conn_pool_size
			conn_pool_min_size conn_pool_ttl default_notification_exchange`),
		known("oslo_messaging_amqp", stream, `container_name idle_timeout trace ssl ssl_ca_file ssl_cert_file ssl_key_file
			ssl_key_password! ssl_verify_vhost sasl_mechanisms sasl_config_dir sasl_config_name sasl_default_realm
			connection_retry_interval connection_retry_backoff connection_retry_interval_max link_retry_delay default_reply_retry
			default_reply_timeout default_send_timeout default_notify_timeout default_sender_link_timeout addressing_mode
			pseudo_vhost server_request_prefix broadcast_prefix group_request_prefix rpc_address_prefix notify_address_prefix
			multicast_address unicast_address anycast_address default_notification_exchange default_rpc_exchange reply_link_credit
			rpc_server_credit notify_server_credit pre_settled username password! allow_insecure_clients`),
		known("oslo_messaging_kafka", stream, `kafka_max_fetch_bytes kafka_consumer_timeout pool_size conn_pool_min_size
			conn_pool_ttl consumer_group producer_batch_timeout producer_batch_size compression_codec enable_auto_commit
			max_poll_records security_protocol sasl_mechanism ssl_cafile ssl_client_cert_file ssl_client_key_file
			ssl_client_key_password!`),
		known("oslo_messaging_notifications", stream, "driver transport_url! topics retry"),
	)
}

// keystoneClient are the options keystoneauth gives every section that names a user.
const keystoneClient = ` region_name endpoint_type auth_url auth_type auth_section auth_plugin auth_version cafile certfile
	collect_timing default_domain_id default_domain_name domain_id domain_name insecure keyfile password! project_domain_id
	project_domain_name project_id project_name split_loggers system_scope tenant_id tenant_name timeout trust_id
	user_domain_id user_domain_name user_id username valid_interfaces service_type service_name interface
	endpoint_override connect_retries connect_retry_delay status_code_retries status_code_retry_delay retriable_status_codes
	min_version max_version application_credential_id application_credential_name application_credential_secret! `

func knownServices() []Option {
	return slices.Concat(
		known("keystone_authtoken", "tokens are validated by the built-in client, by user name and password", `auth_type
			auth_section auth_plugin auth_version auth_host auth_port auth_protocol auth_admin_prefix interface
			delay_auth_decision http_request_max_retries cache certfile keyfile memcached_servers memcache_security_strategy
			memcache_secret_key! memcache_pool_dead_retry memcache_pool_maxsize memcache_pool_socket_timeout
			memcache_pool_unused_timeout memcache_pool_conn_get_timeout memcache_use_advanced_pool memcache_sasl_enabled
			memcache_username memcache_password! memcache_tls_enabled memcache_tls_cafile memcache_tls_certfile memcache_tls_keyfile
			memcache_tls_allowed_ciphers include_service_catalog enforce_token_bind service_type
			admin_token! signing_dir signing_dirname hash_algorithms check_revocations_for_cached revocation_cache_time
			domain_id domain_name trust_id system_scope timeout split_loggers collect_timing`),
		known("keystone_authtoken", "tokens are validated at auth_url, whatever regions its catalog has", "region_name"),
		known("nova", "Nova is not notified yet", keystoneClient+"live_migration_events"),
		known("placement", "nothing is reported to Placement", keystoneClient),
		known("ironic", "Ironic is not notified", keystoneClient+"enable_notifications"),
		known("designate", "names are not published to Designate", keystoneClient+`url admin_auth_url admin_username admin_password!
			admin_tenant_name admin_tenant_id allow_reverse_dns_lookup ipv4_ptr_zone_prefix_size ipv6_ptr_zone_prefix_size
			ptr_zone_email`),
		known("oslo_concurrency", "neutrino needs no lock files", "disable_process_locking lock_path"),
		known("oslo_middleware", "answers hold no address taken from proxies", `enable_proxy_headers_parsing max_request_body_size
			secure_proxy_ssl_header`),
		known("oslo_policy", "the policy is Neutron's default one, built in", `enforce_scope enforce_new_defaults policy_file
			policy_default_rule policy_dirs remote_content_type remote_ssl_verify_server_crt remote_ssl_ca_crt_file
			remote_ssl_client_crt_file remote_ssl_client_key_file remote_timeout`),
		known("oslo_reports", "a goroutine dump is written on SIGQUIT", "log_dir file_event_handler file_event_handler_interval"),
		known("privsep", "neutrino starts no helpers", "user group capabilities thread_pool_size helper_command logger_name log_daemon_traceback"),
		known("cors", "the API sends no CORS headers", "allowed_origin allow_credentials expose_headers max_age allow_methods allow_headers"),
		known("healthcheck", "see [metrics] listen", `path detailed backends disable_by_file_path disable_by_file_paths
			enable_by_file_paths allowed_source_ranges ignore_proxied_requests`),
		known("profiler", "neutrino is not traced by osprofiler", `enabled trace_sqlalchemy trace_requests hmac_keys!
			connection_string! es_doc_type es_scroll_time es_scroll_size socket_timeout sentinel_service_name filter_error_trace`),
		known("cache", "tokens are cached in memory", `config_prefix expiration_time backend_expiration_time backend
			backend_argument proxies enabled debug_cache_backend memcache_servers memcache_dead_retry memcache_socket_timeout
			memcache_pool_maxsize memcache_pool_unused_timeout memcache_pool_connection_get_timeout memcache_pool_flush_on_reconnect
			memcache_sasl_enabled memcache_username memcache_password! redis_server redis_username redis_password! redis_sentinels
			redis_socket_timeout redis_sentinel_service_name tls_enabled tls_cafile tls_certfile tls_keyfile tls_allowed_ciphers
			enable_socket_keepalive socket_keepalive_idle socket_keepalive_interval socket_keepalive_count enable_retry_client
			retry_attempts retry_delay hashclient_retry_attempts hashclient_retry_delay hashclient_dead_timeout dead_timeout
			enforce_fips_mode`),
	)
}
